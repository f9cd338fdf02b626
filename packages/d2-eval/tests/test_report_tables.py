import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2_eval import evaluate_coco_results
from d2_eval.report import class_table, format_table, results_table


def test_columns_are_aligned_and_numbers_stand_right():
    assert format_table(["name", "AP"], [["cat", 5.0], ["horse", 12.344]]).splitlines() == [
        "| name  |    AP |",
        "| ----- | ----: |",
        "| cat   |  5.00 |",
        "| horse | 12.34 |",
    ]


def test_a_table_without_rows_has_its_header():
    assert format_table(["name", "AP"], []).splitlines()[0] == "| name | AP  |"


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="1 cells, the header has 2"):
        format_table(["name", "AP"], [["cat"]])


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tasks_with_the_same_metrics_share_a_table():
    table = results_table({"bbox": {"AP": 1.0, "APs": 2.0}, "keypoints": {"AP": 3.0}})
    header, _, boxes, keypoints = map(cells, table.splitlines())
    assert header == ["task", "AP", "APs"]
    assert boxes == ["bbox", "1.00", "2.00"]
    assert keypoints == ["keypoints", "3.00", ""]


def test_tasks_without_a_common_metric_have_tables_of_their_own():
    boxes, semantic = results_table({"bbox": {"AP": 1.0}, "sem_seg": {"mIoU": 2.0}}).split("\n\n")
    assert "mIoU" not in boxes
    assert "AP" not in semantic


def test_categories_stand_beside_each_other_with_the_scores_of_all_tasks():
    of_boxes = {"AP": 2.0, "AP-cat": 1.0, "AP-t-shirt": 2.0, "AP-dog": 3.0}
    of_masks = {"AP": 5.0, "AP-cat": 4.0, "AP-t-shirt": 5.0, "AP-dog": 6.0}
    main, categories = results_table({"bbox": of_boxes, "segm": of_masks}, width=80).split("\n\n")
    assert "cat" not in main
    header, _, *rows = map(cells, categories.splitlines())
    assert header == ["category", "bbox AP", "segm AP"] * 2
    assert rows == [
        ["cat", "1.00", "4.00", "t-shirt", "2.00", "5.00"],
        ["dog", "3.00", "6.00", "", "", ""],
    ]


def test_the_categories_of_a_single_task_are_titled_by_the_metric_alone():
    table = results_table({"sem_seg": {"mIoU": 1.0, "IoU-sky": 1.0, "mACC": 2.0, "ACC-sky": 2.0}})
    header, _, row = map(cells, table.split("\n\n")[1].splitlines())
    assert header == ["category", "IoU", "ACC"]
    assert row == ["sky", "1.00", "2.00"]


def test_a_dash_in_a_metric_does_not_make_it_one_of_a_category():
    assert cells(results_table({"task": {"top-1": 1.0}}).splitlines()[0]) == ["task", "top-1"]


@given(
    count=st.integers(2, 60),
    width=st.integers(40, 160),
    longest=st.integers(1, 20),
    tasks=st.booleans(),
)
def test_every_category_is_there_once_and_lines_keep_to_the_width(count, width, longest, tasks):
    names = [f"{number:02d}" + "x" * (number % longest) for number in range(count)]
    scores = {"AP": 1.0, **{f"AP-{name}": 2.0 for name in names}}
    results = {"bbox": scores, "segm": scores} if tasks else {"bbox": scores}
    table = results_table(results, width=width).split("\n\n")[1]
    found = [cell for line in table.splitlines()[2:] for cell in cells(line)]
    assert [cell for cell in found if cell and "." not in cell] == names
    block = longest + 1 + (26 if tasks else 12)
    assert max(map(len, table.splitlines())) <= max(width, block)


def test_of_very_many_categories_the_best_and_the_worst_are_listed():
    scores = {f"AP-c{number}": float(number) for number in range(200)}
    table = results_table({"bbox": {"AP": 1.0, **scores, "AP-none": math.nan}}, most_categories=40)
    assert all(table.count(f"| {name} ") == 1 for name in ("c199", "c190", "c9", "c0"))
    assert all(f"| {name} " not in table for name in ("c189", "c10", "none"))
    assert "the best 10 and the worst 10 of 201 categories" in table


def test_several_test_sets_have_tables_below_their_names():
    results = {"summer": {"bbox": {"AP": 1.0}}, "winter": {"bbox": {"AP": 2.0}}, "night": {}}
    parts = results_table(results).split("\n\n")
    assert parts[::2] == ["summer", "winter", "night"]
    assert cells(parts[3].splitlines()[2]) == ["bbox", "2.00"]
    assert parts[5] == "no results"


def test_scores_that_cannot_be_computed_are_explained_once():
    table = results_table({"bbox": {"AP": math.nan, "AP-cat": math.nan}})
    assert table.count("nan:") == 1
    assert table.splitlines()[-1].startswith("nan: nothing of that kind is annotated")
    assert "nan" not in results_table({"bbox": {"AP": 1.0}})


def test_a_task_that_is_one_number_has_a_row():
    assert cells(results_table({"accuracy": 0.5}).splitlines()[2]) == ["accuracy", "0.50"]


def test_no_results_are_said_to_be_none():
    assert results_table({}) == "no results"


def test_each_class_and_the_average_have_a_row(tmp_path, coco_content):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_content))
    results = [{"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "score": 0.9}]
    lines = class_table(evaluate_coco_results(path, results, "bbox")).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["cat", "dog", "all"]
