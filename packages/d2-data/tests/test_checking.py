import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.checking import (
    KINDS,
    check_dataset,
    repaired_content,
    report_page,
    report_table,
    write_repaired,
)
from d2_data.datasets import coco_folder, load_coco_json
from d2_structures import BoxMode


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def annotation(**changes):
    return {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 10, 20, 20],
        "segmentation": [square(10, 10, 20)],
        "area": 400,
        "iscrowd": 0,
        **changes,
    }


def content(*annotations, **changes):
    return {
        "info": {"description": "kept"},
        "images": [
            {"id": 1, "file_name": "a.png", "width": 80, "height": 60, "license": 4},
            {"id": 2, "file_name": "b.png", "width": 80, "height": 60},
        ],
        "annotations": list(annotations) or [annotation(), annotation(id=2, image_id=2)],
        "categories": [{"id": 1, "name": "cup"}],
        **changes,
    }


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(["a.png", "b.png"]):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def check(folder):
    def check_content(given_content, **kwargs):
        path = folder / "annotations.json"
        path.write_text(json.dumps(given_content))
        return check_dataset(path, **kwargs)

    return check_content


def kinds(report):
    return set(report.counts())


def test_good_dataset_has_no_findings(check):
    report = check(content())
    assert report.findings == ()
    assert not report.has_errors
    assert "nothing wrong was found" in report_table(report)
    assert "Nothing was found." in report_page(report)


FAULTS = {
    "malformed": {"bbox": ["10", "10", "20", "20"]},
    "category-unknown": {"category_id": 9},
    "image-unknown": {"image_id": 9},
    "box-degenerate": {"bbox": [10, 10, 0, 20], "segmentation": None},
    "box-outside": {"bbox": [70, 10, 20, 20], "segmentation": [square(70, 10, 20)]},
    "box-unlike-mask": {"bbox": [40, 10, 20, 20]},
    "polygon-short": {"segmentation": [[1, 2, 3, 4], square(10, 10, 20)]},
    "polygon-crossing": {"segmentation": [[10, 10, 30, 30, 30, 10, 10, 30]]},
    "mask-empty": {"segmentation": [square(100, 10, 20)]},
    "mask-lacking": {"segmentation": []},
    "object-id-repeated": {"id": 2},
    "written-otherwise": {"segmentation": square(10, 10, 20)},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_fault_of_an_object_is_found_and_named(check, kind):
    report = check(content(annotation(**FAULTS[kind]), annotation(id=2, image_id=2)))
    assert kind in kinds(report)
    (finding, *_) = report.by_kind()[kind]
    assert "object" in finding.subject
    assert finding.severity == KINDS[kind].severity
    assert report.has_errors == any(f.severity == "error" for f in report.findings)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [60, 80], "counts": "not run lengths"},
        {"size": [80, 60], "counts": [4800]},
        {"size": [60, 80], "counts": [1]},
    ],
)
def test_mask_that_cannot_be_is_found(check, segmentation):
    assert "malformed" in kinds(check(content(annotation(segmentation=segmentation))))


def test_pixel_beyond_the_edge_is_no_finding(check):
    outline = [square(60, 40, 21)]
    report = check(content(annotation(bbox=[60, 40, 20.9, 20.9], segmentation=outline)))
    assert "box-outside" not in kinds(report)


def test_objects_that_are_annotated_twice_are_found(check):
    twice = [annotation(), annotation(id=2), annotation(id=3, bbox=[10, 10, 20, 21])]
    report = check(content(*twice))
    (finding,) = report.by_kind()["object-repeated"]
    assert finding.object_id == 2
    assert "object 1" in finding.message


def test_keypoints_that_the_category_does_not_declare_are_found(check):
    categories = [{"id": 1, "name": "man", "keypoints": ["nose", "tail"]}]
    good, bad = annotation(keypoints=[1, 1, 2] * 2), annotation(id=2, keypoints=[1, 1, 2] * 3)
    (finding,) = check(content(good, bad, categories=categories)).by_kind()["keypoints-differ"]
    assert finding.object_id == 2


def test_crowds_alone_are_an_error(check):
    report = check(content(annotation(iscrowd=1)))
    assert "all-crowds" in kinds(report)
    assert report.statistics.crowds == 1
    assert report.statistics.objects == 0


def test_faults_of_categories_are_found(check):
    categories = [{"id": 1, "name": "cup"}, {"id": 5, "name": "cup"}, {"id": 5, "name": "x"}, {}]
    report = check(content(categories=categories))
    assert report.counts() | {"category-gap": 1} == {
        "malformed": 1,
        "category-id-repeated": 1,
        "category-name-repeated": 2,
        "category-empty": 1,
        "category-gap": 1,
    }
    assert report.statistics.objects_per_class == {"cup (id 1)": 2, "cup (id 5)": 0}


def test_faults_of_images_are_found(check, folder):
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "text.png").write_text("hello")
    size = {"width": 80, "height": 60}
    images = [
        *content()["images"],
        {"id": 3, "file_name": "copy.png", **size},
        {"id": 4, "file_name": "text.png", **size},
        {"id": 5, "file_name": "gone.png", **size},
        {"id": 5, "file_name": "b.png", **size},
        {"id": 6, "file_name": "b.png", "width": 60, "height": 80},
        {"id": 7, "file_name": "b.png", "width": "80", "height": 60},
        {"file_name": "b.png"},
    ]
    report = check(content(images=images))
    by_kind = report.by_kind()
    assert report.counts() == {
        "malformed": 2,
        "file-missing": 1,
        "file-unreadable": 1,
        "size-mismatch": 1,
        "image-id-repeated": 1,
        "picture-repeated": 1,
        "image-empty": 4,
    }
    assert "lying on its side" in by_kind["size-mismatch"][0].message
    assert by_kind["picture-repeated"][0].image_id == 3


def test_image_turned_by_exif_is_a_note(check, folder):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (80, 60)).save(folder / "a.png", exif=exif)
    report = check(content())
    assert kinds(report) == {"image-turned"}


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_list_that_is_none_is_malformed(check, key):
    report = check(content(**{key: {"1": {}}}))
    assert any(f.kind == "malformed" and f.subject == key for f in report.findings)


def test_missing_size_is_read_from_the_file(check):
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png", "width": 0}]
    report = check(content(annotation(bbox=[70, 10, 20, 20]), images=images))
    assert "box-outside" in kinds(report)
    assert report.statistics.image_sizes == {"80 x 60": 2}


def test_statistics_count_classes_sizes_and_images(check):
    boxes = [annotation(id=i, bbox=[0, 0, i * 10, i * 10]) for i in range(1, 6)]
    statistics = check(content(*boxes)).statistics
    assert statistics.objects_per_class == {"cup": 5}
    assert statistics.objects_per_size == {"small": 3, "medium": 2, "large": 0}
    assert sum(statistics.objects_per_side.values()) == 5
    assert statistics.objects_per_side["32-64"] == 2
    assert {k: v for k, v in statistics.objects_per_image.items() if v} == {"0": 1, "5": 1}


@pytest.fixture
def registered(folder):
    names = []

    def register(name, records, **metadata):
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(**metadata)
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def record(folder, *annotations, **changes):
    return {
        "file_name": folder / "a.png",
        "height": np.int64(60),
        "width": 80,
        "image_id": "first",
        "annotations": list(annotations),
        **changes,
    }


def test_registered_records_are_checked(folder, registered):
    good = {"bbox": np.array([10, 10, 30, 30]), "bbox_mode": 0, "category_id": 0}
    bad = [{**good, "category_id": 7}, {**good, "bbox": ["1"] * 4}, {**good, "bbox_mode": None}]
    outside = {"bbox": [70, 0, 20, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    name = registered("checked", [record(folder, good, *bad, outside)], thing_classes=["cup"])
    report = check_dataset(name)
    assert report.name == "checked"
    assert report.counts() == {"malformed": 2, "category-unknown": 1, "box-outside": 1}
    assert report.statistics.objects_per_class == {"cup": 2}
    written, _ = repaired_content(report)
    assert [a["bbox"] for a in written["annotations"]] == [[10, 10, 20, 20], [70, 0, 10, 20]]
    assert json.loads(json.dumps(written)) == written


def test_names_of_coco_files_are_checked_as_files(folder):
    (folder / "annotations.json").write_text(json.dumps(content(annotation(bbox=None))))
    name = coco_folder(folder / "annotations.json", folder)
    report = check_dataset(name)
    assert report.name == name
    assert "written-otherwise" in kinds(report)
    metadata = Metadata(
        name="m",
        json_file=str(folder / "annotations.json"),
        image_root=str(folder),
        evaluator_type="coco",
    )
    assert check_dataset(metadata).counts() == report.counts()


def test_what_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        check_dataset(tmp_path / "none.json")
    with pytest.raises(KeyError, match="no_such_dataset"):
        check_dataset("no_such_dataset")


def test_report_is_json_text_and_page(check):
    report = check(content(annotation(bbox=[0, 0, -5, 5], id="<b>"), annotation(id=2)))
    loaded = json.loads(report.to_json())
    assert loaded["counts"] == report.counts()
    assert loaded["statistics"]["images"] == 2
    assert len(loaded["findings"]) == len(report.findings)
    text, page = report_table(report), report_page(report)
    for kind in report.counts():
        assert KINDS[kind].title in text
        assert KINDS[kind].title in page
    assert "'<b>'" in text
    assert "<b>'" not in page
    assert "&lt;b&gt;" in page


def test_table_shows_a_few_examples_of_many(check):
    report = check(content(*(annotation(id=i, bbox=[0, 0, 0, 0]) for i in range(1, 9))))
    text = report_table(report, examples=2)
    assert "object 2 of" in text
    assert "object 3 of" not in text.split("annotated twice")[0]
    assert "and 6 more" in text


# Mending


def mend(check, folder, *annotations, **changes):
    report = check(content(*annotations, **changes))
    repairs = write_repaired(report, folder / "mended.json")
    mended = json.loads((folder / "mended.json").read_text())
    return mended, repairs, check_dataset(folder / "mended.json")


def test_good_dataset_is_written_as_it_was(check, folder):
    mended, repairs, report = mend(check, folder)
    assert mended == content()
    assert repairs == []
    assert report.findings == ()


MENDED = {
    "malformed": None,
    "category-unknown": None,
    "image-unknown": None,
    "box-degenerate": None,
    "box-outside": {"bbox": [70, 10, 10, 20]},
    "polygon-short": {"segmentation": [square(10, 10, 20)]},
    "mask-empty": {"segmentation": "absent"},
    "written-otherwise": {"segmentation": [square(10, 10, 20)]},
}


@pytest.mark.parametrize("kind", MENDED)
def test_what_can_be_mended_safely_is_gone_afterwards(check, folder, kind):
    other = annotation(id=2, image_id=2)
    mended, repairs, report = mend(check, folder, annotation(**FAULTS[kind]), other)
    assert kind in {repair.kind for repair in repairs}
    assert kind not in kinds(report)
    changed = [a for a in mended["annotations"] if a["image_id"] == 1]
    if MENDED[kind] is None:
        assert changed == []
        return
    expected = {**annotation(**FAULTS[kind]), **MENDED[kind]}
    assert changed == [{k: v for k, v in expected.items() if v != "absent"}]


@pytest.mark.parametrize("kind", ["box-unlike-mask", "polygon-crossing", "mask-lacking"])
def test_what_needs_a_decision_stays(check, folder, kind):
    _, repairs, report = mend(
        check, folder, annotation(**FAULTS[kind]), annotation(id=2, image_id=2)
    )
    assert kind in kinds(report)
    assert kind not in {repair.kind for repair in repairs}


def test_box_without_an_area_becomes_that_of_the_mask(check, folder):
    mended, (repair,), _ = mend(check, folder, annotation(bbox=[0, 0, 0, 0]))
    assert mended["annotations"][0]["bbox"] == [10, 10, 20, 20]
    assert repair.kind == "box-degenerate"


def test_objects_that_are_annotated_twice_are_written_once(check, folder):
    mended, (repair,), _ = mend(check, folder, annotation(), annotation(id=2))
    assert [a["id"] for a in mended["annotations"]] == [1]
    assert repair.subject.startswith("object 2")


def test_ids_that_metrics_mistake_are_numbered_anew(check, folder):
    boxes = [annotation(id=0), annotation(id=5, image_id=2), annotation(id=5, bbox=[9, 10, 20, 20])]
    mended, repairs, report = mend(check, folder, *boxes)
    assert [(a["id"], a["image_id"]) for a in mended["annotations"]] == [(1, 1), (2, 2), (3, 1)]
    assert "object-id-repeated" in {repair.kind for repair in repairs}
    assert "object-id-repeated" not in kinds(report)


def test_what_tools_leave_out_is_filled_in(check, folder):
    bare = {"image_id": 1, "category_id": 1, "segmentation": [square(10, 10, 20)]}
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "sub\\b.png"}]
    mended, repairs, _ = mend(check, folder, bare, images=images)
    assert mended["annotations"] == [annotation(area=400.0)]
    assert mended["images"][0] == {"id": 1, "file_name": "a.png", "width": 80, "height": 60}
    assert mended["images"][1]["file_name"] == "sub/b.png"
    assert len(repairs) == 4


def test_plain_run_lengths_are_written_as_text(check, folder):
    rle = {"size": [60, 80], "counts": [10 * 60 + 10, 20, 4800 - 630]}
    mended, *_ = mend(check, folder, annotation(bbox=[10, 10, 1, 20], segmentation=rle))
    assert isinstance(mended["annotations"][0]["segmentation"]["counts"], str)


@given(faults=st.lists(st.sampled_from(sorted(FAULTS)), max_size=6))
def test_whatever_was_mended_loads(tmp_path_factory, faults):
    folder = tmp_path_factory.mktemp("mended")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (80, 60)).save(folder / name)
    annotations = [{**annotation(id=i), **FAULTS[fault]} for i, fault in enumerate(faults)]
    (folder / "raw.json").write_text(json.dumps(content(annotation(id=50), *annotations)))
    report = check_dataset(folder / "raw.json")
    before = copy.deepcopy([o.normal for o in report.content.objects])
    write_repaired(report, folder / "mended.json")
    assert [o.normal for o in report.content.objects] == before
    assert len(load_coco_json(folder / "mended.json", folder, None)) == 2
    again = check_dataset(folder / "mended.json")
    assert not again.has_errors
    assert repaired_content(again)[0] == json.loads((folder / "mended.json").read_text())
