import json
import math

import pytest

from d2_eval import evaluate_coco_results
from d2_eval.report import class_table, format_table, per_class_table, results_table


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


def test_classes_stand_beside_each_other_and_blanks_fill_the_last_row():
    lines = per_class_table({"a": 1.0, "b": 2.0, "c": math.nan}, columns=2).splitlines()
    assert len(lines) == 4
    assert "nan" in lines[3]
    assert len({len(line) for line in lines}) == 1


def test_results_show_the_main_metrics_of_each_task():
    table = results_table({"bbox": {"AP": 1.0, "APs": 2.0, "AP-cat": 9.0}, "kp": {"AP": 3.0}})
    assert "APs" in table
    assert "cat" not in table
    assert table.splitlines()[3].startswith("| kp")


def test_each_class_and_the_average_have_a_row(tmp_path, coco_content):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_content))
    results = [{"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "score": 0.9}]
    lines = class_table(evaluate_coco_results(path, results, "bbox")).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["cat", "dog", "all"]
