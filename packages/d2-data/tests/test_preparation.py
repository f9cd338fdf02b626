import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from d2_data.datasets import load_lvis_json
from d2_data.datasets.cityscapes import cityscapes_labels
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.formats import decode_panoptic_png, encode_panoptic_png, read_label_map
from d2_data.preparation import (
    PREPARATIONS,
    Prepared,
    prepare_ade20k,
    prepare_builtin,
    prepare_cityscapes,
    prepare_cocofied_lvis,
    prepare_panoptic_fpn_semantics,
    semantic_map_of_segments,
)


def save(labels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(labels, dtype=np.uint8)).save(path)


def counting(seen):
    """A progress display that keeps what it is told."""

    def progress(done, total, description):
        seen.append((total, description))
        return done

    return progress


# ADE20K


def test_ade20k_classes_begin_at_0_and_nothing_is_255(tmp_path):
    for split in ("training", "validation"):
        save([[0, 1], [2, 150]], tmp_path / "annotations" / split / "a.png")
    assert prepare_ade20k(tmp_path) == Prepared(written=2, kept=0)
    for split in ("training", "validation"):
        made = read_label_map(tmp_path / "annotations_detectron2" / split / "a.png")
        assert made.tolist() == [[255, 0], [1, 149]]


def test_files_that_are_there_are_kept_unless_asked(tmp_path):
    save([[1]], tmp_path / "annotations" / "validation" / "a.png")
    prepare_ade20k(tmp_path)
    save([[2]], tmp_path / "annotations" / "validation" / "a.png")
    assert prepare_ade20k(tmp_path) == Prepared(written=0, kept=1)
    made = tmp_path / "annotations_detectron2" / "validation" / "a.png"
    assert read_label_map(made).item() == 0
    assert prepare_ade20k(tmp_path, overwrite=True) == Prepared(written=1, kept=0)
    assert read_label_map(made).item() == 1


def test_progress_is_told_how_much_is_to_come(tmp_path):
    for name in ("a", "b"):
        save([[1]], tmp_path / "annotations" / "validation" / f"{name}.png")
    seen = []
    prepare_ade20k(tmp_path, ["validation"], progress=counting(seen), num_workers=1)
    assert seen == [(2, "ADE20K validation")]


def test_a_label_that_ade20k_does_not_have_is_named(tmp_path):
    save([[151]], tmp_path / "annotations" / "training" / "bad.png")
    with pytest.raises(ValueError, match=r"bad\.png' has the label 151"):
        prepare_ade20k(tmp_path)
    assert not list(tmp_path.glob("annotations_detectron2/**/*.png"))


def test_absent_annotations_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither '.*training' nor '.*validation'"):
        prepare_ade20k(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no label image .*mine'/\*\.png"):
        prepare_ade20k(tmp_path, ["mine"])


def test_real_labels_of_ade20k_become_classes(shared_data, tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "validation").symlink_to(shared_data / "ade20k" / "annotations")
    assert prepare_ade20k(tmp_path).written == 3
    for source in (shared_data / "ade20k" / "annotations").glob("*.png"):
        before = read_label_map(source).astype(int)
        made = read_label_map(tmp_path / "annotations_detectron2" / "validation" / source.name)
        np.testing.assert_array_equal(made, np.where(before == 0, 255, before - 1))


# Panoptic FPN

CATEGORIES = [
    {"id": 184, "name": "tree", "isthing": 0},
    {"id": 2, "name": "bicycle", "isthing": 1},
    {"id": 187, "name": "sky", "isthing": 0},
]


def write_panoptic(folder, ids, categories=CATEGORIES, **segments):
    (folder / "png").mkdir(exist_ok=True)
    (folder / "png" / "a.png").write_bytes(encode_panoptic_png(np.asarray(ids)))
    infos = [{"id": int(n[1:]), "category_id": category} for n, category in segments.items()]
    annotation = {"image_id": 3, "file_name": "a.png", "segments_info": infos}
    content = {"annotations": [annotation], "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content))
    return folder / "panoptic.json", folder / "png", folder / "stuff"


def test_objects_are_0_and_materials_count_from_1(tmp_path):
    ids = [[10, 300, 70000], [10, 0, 8]]
    paths = write_panoptic(tmp_path, ids, _10=184, _300=2, _70000=187, _8=2)
    assert prepare_panoptic_fpn_semantics(*paths) == Prepared(1, 0)
    assert read_label_map(tmp_path / "stuff" / "a.png").tolist() == [[1, 0, 2], [1, 255, 0]]


@settings(deadline=None)
@given(
    arrays(np.int32, (3, 4), elements=st.integers(0, 5)),
    st.dictionaries(st.integers(1, 5), st.sampled_from([2, 184, 187])),
)
def test_each_pixel_has_the_label_of_its_segment(ids, categories):
    labels = {2: 0, 184: 1, 187: 2}
    segments = [{"id": i, "category_id": category} for i, category in categories.items()]
    expected = [[labels.get(categories.get(i), 255) for i in row] for row in ids.tolist()]
    assert semantic_map_of_segments(ids, segments, labels).tolist() == expected


def test_a_segment_of_an_undeclared_category_is_named(tmp_path):
    paths = write_panoptic(tmp_path, [[1]], _1=99)
    with pytest.raises(KeyError, match=r"image 3 has segments of the categories \[99\]"):
        prepare_panoptic_fpn_semantics(*paths)


def test_an_absent_png_is_named(tmp_path):
    paths = write_panoptic(tmp_path, [[1]], _1=2)
    (tmp_path / "png" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image 3: its PNG '.*a\.png' does not exist"):
        prepare_panoptic_fpn_semantics(*paths)


def test_a_damaged_png_is_named(tmp_path):
    paths = write_panoptic(tmp_path, [[1]], _1=2)
    (tmp_path / "png" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"image 3: its PNG '.*a\.png' cannot be read"):
        prepare_panoptic_fpn_semantics(*paths)


def test_more_materials_than_8_bits_hold_are_refused(tmp_path):
    many = [{"id": i, "name": str(i), "isthing": 0} for i in range(255)]
    with pytest.raises(ValueError, match="has 255 materials"):
        prepare_panoptic_fpn_semantics(*write_panoptic(tmp_path, [[1]], many, _1=2))


def test_materials_of_real_annotations_have_the_classes_of_the_built_in_datasets(
    shared_data, tmp_path
):
    annotations = shared_data / "coco_panoptic" / "annotations"
    prepared = prepare_panoptic_fpn_semantics(
        annotations / "panoptic_val2017.json", annotations / "panoptic_val2017", tmp_path
    )
    assert prepared.written == 24
    content = json.loads((annotations / "panoptic_val2017.json").read_text())
    classes = read_vocabulary("coco_panoptic_separated")["stuff_dataset_id_to_contiguous_id"]
    things = {c["id"] for c in content["categories"] if c["isthing"]}
    for annotation in content["annotations"]:
        ids = decode_panoptic_png(annotations / "panoptic_val2017" / annotation["file_name"])
        made = read_label_map(tmp_path / annotation["file_name"])
        assert np.array_equal(made == 255, ids == 0)
        for segment in annotation["segments_info"]:
            category = segment["category_id"]
            expected = 0 if category in things else classes[category]
            assert set(made[ids == segment["id"]].tolist()) == {expected}


# Cityscapes


def test_cityscapes_gets_training_ids_and_panoptic_annotations(
    tmp_path, write_cityscapes, cityscapes_instance_ids
):
    names = ("aachen_000000_000019", "bochum_000000_000019")
    root = write_cityscapes(tmp_path, "val", names)
    assert prepare_cityscapes(root) == Prepared(written=4, kept=0)
    assert prepare_cityscapes(root) == Prepared(written=0, kept=4)
    labels = read_label_map(
        root / "gtFine" / "val" / "aachen" / f"{names[0]}_gtFine_labelTrainIds.png"
    )
    plain = cityscapes_instance_ids // np.where(cityscapes_instance_ids >= 1000, 1000, 1)
    train_ids = {label.id: label.train_id for label in cityscapes_labels().values()}
    np.testing.assert_array_equal(labels, np.vectorize(train_ids.get)(plain))


def test_panoptic_segments_of_cityscapes_are_those_that_are_evaluated(
    tmp_path, write_cityscapes, cityscapes_instance_ids
):
    root = write_cityscapes(tmp_path, "val")
    prepare_cityscapes(root, ["val"])
    content = json.loads((root / "gtFine" / "cityscapes_panoptic_val.json").read_text())
    assert [c["id"] for c in content["categories"]] == [
        label.id for label in cityscapes_labels().values() if label.is_evaluated
    ]
    assert {c["name"]: c["isthing"] for c in content["categories"]}["car"] == 1
    (image,) = content["images"]
    assert image == {
        "id": "aachen_000000_000019",
        "file_name": "aachen_000000_000019_gtFine_leftImg8bit.png",
        "height": 48,
        "width": 64,
    }
    (annotation,) = content["annotations"]
    assert annotation["file_name"] == "aachen_000000_000019_gtFine_panoptic.png"
    ids = decode_panoptic_png(root / "gtFine" / "cityscapes_panoptic_val" / annotation["file_name"])
    evaluated = {7: 0, 17: 0, 23: 0, 26: 1, 24000: 0, 26000: 0, 26001: 0}
    expected = np.where(
        np.isin(cityscapes_instance_ids, list(evaluated)), cityscapes_instance_ids, 0
    )
    np.testing.assert_array_equal(ids, expected)
    assert {s["id"]: s["iscrowd"] for s in annotation["segments_info"]} == evaluated
    for segment in annotation["segments_info"]:
        ys, xs = np.nonzero(ids == segment["id"])
        left, top, width, height = segment["bbox"]
        assert (left, top) == (xs.min(), ys.min())
        assert (left + width, top + height) == (xs.max() + 1, ys.max() + 1)
        assert segment["area"] == len(xs)
        assert segment["category_id"] == (segment["id"] // 1000 or segment["id"])


def test_an_absent_cityscapes_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of the folders .*leftImg8bit"):
        prepare_cityscapes(tmp_path)


# Places of the built-in datasets


def test_built_in_datasets_are_prepared_where_they_are_looked_for(tmp_path, monkeypatch):
    save([[3]], tmp_path / "ADEChallengeData2016" / "annotations" / "training" / "a.png")
    monkeypatch.setenv("D2_DATASETS", str(tmp_path))
    assert prepare_builtin("ade20k") == Prepared(written=1, kept=0)
    assert prepare_builtin("ade20k", tmp_path, ["training"]) == Prepared(written=0, kept=1)


def test_absent_downloads_are_named_with_what_names_their_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("D2_DATASETS", str(tmp_path))
    for what in PREPARATIONS:
        with pytest.raises(FileNotFoundError) as caught:
            prepare_builtin(what)
        assert str(tmp_path) in str(caught.value)
        assert "$D2_DATASETS names" in caught.value.__notes__[0]


def test_what_cannot_be_prepared_is_named():
    with pytest.raises(ValueError, match=r"nothing to prepare for 'voc', only for \['panoptic-"):
        prepare_builtin("voc")


# LVIS with the categories of COCO


def lvis_category(number, synset):
    return {"id": number, "name": synset.partition(".")[0], "synset": synset}


def write_lvis(path, **changes):
    content = {
        "images": [{"id": 1, "neg_category_ids": [3, 5], "not_exhaustive_category_ids": [5]}],
        "annotations": [
            {"id": 8, "image_id": 1, "category_id": 4, "bbox": [0, 0, 1, 1]},
            {"id": 9, "image_id": 1, "category_id": 3, "bbox": [0, 0, 2, 2]},
        ],
        "categories": [
            lvis_category(3, "person.n.01"),
            lvis_category(4, "acorn.n.01"),
            lvis_category(5, "toothbrush.n.01"),
            lvis_category(6, "kite.n.03"),
        ],
    }
    path.write_text(json.dumps(content | changes))
    return path


def test_only_the_categories_that_coco_has_are_left(tmp_path):
    out = tmp_path / "new" / "cocofied.json"
    assert prepare_cocofied_lvis(write_lvis(tmp_path / "lvis.json"), out) == 1
    content = json.loads(out.read_text())
    assert content["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}
    ]
    assert content["images"][0]["neg_category_ids"] == [1, 90]
    assert content["images"][0]["not_exhaustive_category_ids"] == [90]
    # A kite is neither annotated nor known to be absent.
    assert [c["id"] for c in content["categories"]] == [1, 90]


def test_a_file_without_synsets_is_refused(tmp_path):
    file = write_lvis(tmp_path / "coco.json", categories=[{"id": 3, "name": "person"}])
    with pytest.raises(ValueError, match=r"coco\.json': category 3 has no 'synset'"):
        prepare_cocofied_lvis(file, tmp_path / "out.json")


def test_every_category_of_coco_has_a_synset_in_lvis(shared_data, tmp_path):
    source = shared_data / "lvis" / "lvis_val_100.json"
    coco = {
        c["synset"]: c["coco_cat_id"]
        for c in json.loads((shared_data / "lvis" / "coco_to_synset.json").read_text()).values()
    }
    kept = prepare_cocofied_lvis(source, tmp_path / "cocofied.json")
    content = json.loads(source.read_text())
    synsets = {c["id"]: c["synset"] for c in content["categories"]}
    expected = [
        coco[synsets[a["category_id"]]]
        for a in content["annotations"]
        if synsets[a["category_id"]] in coco
    ]
    made = json.loads((tmp_path / "cocofied.json").read_text())["annotations"]
    assert [a["category_id"] for a in made] == expected
    assert len(expected) == kept > 0
    records = load_lvis_json(tmp_path / "cocofied.json", tmp_path, "lvis_v0.5_mine_cocofied")
    assert sum(len(record["annotations"]) for record in records) == kept
