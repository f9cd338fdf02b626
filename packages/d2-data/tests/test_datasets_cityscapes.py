import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import Metadata
from d2_data.datasets import (
    load_cityscapes_instances,
    load_cityscapes_panoptic,
    load_cityscapes_semantic,
)
from d2_data.datasets.cityscapes import (
    cityscapes_frames,
    cityscapes_labels,
    draw_instance_ids,
    draw_train_ids,
    read_polygons,
)
from d2_data.datasets.vocabularies import read_vocabulary
from d2_ops.host import polygons_to_bitmask, rle_decode

CAR, PERSON = 2, 0


@pytest.fixture
def split(tmp_path, write_cityscapes):
    """Photographs and annotations of the training split."""
    root = write_cityscapes(tmp_path, frames=("bochum_000000_000019", "aachen_000000_000019"))
    return root / "leftImg8bit" / "train", root / "gtFine" / "train"


def drawn(annotation: dict) -> np.ndarray:
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        return rle_decode(segmentation)
    return polygons_to_bitmask([np.array(p) for p in segmentation], 48, 64)


# Labels


def test_the_evaluated_labels_are_the_19_of_the_metadata():
    evaluated = sorted(
        (label for label in cityscapes_labels().values() if label.is_evaluated),
        key=lambda label: label.train_id,
    )
    vocabulary = read_vocabulary("cityscapes")
    assert [label.name for label in evaluated] == vocabulary["stuff_classes"]
    things = [label.name for label in evaluated if label.has_instances]
    assert things == vocabulary["thing_classes"]
    assert [label.train_id for label in evaluated] == list(range(19))


def test_there_are_35_labels_with_the_ids_from_minus_1():
    assert [label.id for label in cityscapes_labels().values()] == list(range(-1, 34))


# Objects


@pytest.mark.parametrize("to_polygons", [True, False])
@pytest.mark.parametrize("from_json", [True, False])
def test_masks_are_the_visible_pixels(split, cityscapes_instance_ids, from_json, to_polygons):
    first, second = load_cityscapes_instances(*split, from_json, to_polygons)
    assert first["annotations"] == second["annotations"]
    expected = {26: (CAR, 1), 24000: (PERSON, 0), 26000: (CAR, 0), 26001: (CAR, 0)}
    assert len(first["annotations"]) == len(expected)
    for annotation, (value, (category, crowd)) in zip(
        first["annotations"], expected.items(), strict=True
    ):
        mask = cityscapes_instance_ids == value
        np.testing.assert_array_equal(drawn(annotation), mask)
        ys, xs = np.nonzero(mask)
        assert annotation["bbox"] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert (annotation["category_id"], annotation["iscrowd"]) == (category, crowd)


def test_an_object_behind_a_pole_has_two_polygons(split):
    record, _ = load_cityscapes_instances(*split)
    (behind,) = [a for a in record["annotations"] if a["bbox"] == [20, 24, 44, 38]]
    assert len(behind["segmentation"]) == 2


def test_records_name_the_files_in_the_order_of_cities(split):
    images, _ = split
    records = load_cityscapes_instances(*split)
    names = ["aachen_000000_000019_leftImg8bit.png", "bochum_000000_000019_leftImg8bit.png"]
    assert [record["image_id"] for record in records] == names
    assert [record["file_name"] for record in records] == [
        str(images / name.partition("_")[0] / name) for name in names
    ]
    assert all((record["height"], record["width"]) == (48, 64) for record in records)


corner = st.tuples(st.integers(0, 63), st.integers(0, 47)).map(list)
objects = st.fixed_dictionaries(
    {
        "label": st.sampled_from(["car", "cargroup", "bicycle", "pole", "trailer", "person"]),
        "polygon": st.lists(corner, min_size=3, max_size=6),
    }
)


@settings(deadline=None, max_examples=60)
@given(st.lists(objects, max_size=6))
def test_polygons_give_the_same_objects_as_the_image_drawn_of_them(tmp_path_factory, scene):
    from PIL import Image

    root = tmp_path_factory.mktemp("cityscapes")
    images, annotations = root / "leftImg8bit" / "aachen", root / "gtFine" / "aachen"
    for folder in (images, annotations):
        folder.mkdir(parents=True)
    (images / "aachen_0_0_leftImg8bit.png").touch()
    file = annotations / "aachen_0_0_gtFine_polygons.json"
    file.write_text(json.dumps({"imgHeight": 48, "imgWidth": 64, "objects": scene}))
    ids = draw_instance_ids(read_polygons(file))
    Image.fromarray(ids.astype(np.uint16)).save(annotations / "aachen_0_0_gtFine_instanceIds.png")
    folders = images.parent, annotations.parent
    (polygons,) = load_cityscapes_instances(*folders)
    (masks,) = load_cityscapes_instances(*folders, from_json=False, to_polygons=False)
    assert len(polygons["annotations"]) == len(masks["annotations"])
    for outlined, encoded in zip(polygons["annotations"], masks["annotations"], strict=True):
        np.testing.assert_array_equal(drawn(outlined), drawn(encoded))
        assert {**outlined, "segmentation": 0} == {**encoded, "segmentation": 0}


def test_coarse_annotations_are_found_by_their_folder(tmp_path, write_cityscapes):
    root = write_cityscapes(tmp_path)
    fine = root / "gtFine" / "train" / "aachen"
    coarse = root / "gtCoarse" / "train" / "aachen"
    coarse.mkdir(parents=True)
    (fine / "aachen_000000_000019_gtFine_polygons.json").rename(
        coarse / "aachen_000000_000019_gtCoarse_polygons.json"
    )
    (record,) = load_cityscapes_instances(root / "leftImg8bit" / "train", coarse.parent)
    assert len(record["annotations"]) == 4


# Drawing


def test_instances_are_drawn_as_cityscapes_tools_draw_them(split, cityscapes_instance_ids):
    frame, _ = cityscapes_frames(*split)
    ids = draw_instance_ids(read_polygons(frame.annotation("polygons.json")))
    np.testing.assert_array_equal(ids, cityscapes_instance_ids)


def test_training_ids_are_255_where_nothing_is_evaluated(split, cityscapes_instance_ids):
    frame, _ = cityscapes_frames(*split)
    ids = draw_train_ids(read_polygons(frame.annotation("polygons.json")))
    labels = {label.id: label.train_id for label in cityscapes_labels().values()}
    plain = np.where(
        cityscapes_instance_ids >= 1000, cityscapes_instance_ids // 1000, cityscapes_instance_ids
    )
    np.testing.assert_array_equal(ids, np.vectorize(labels.get)(plain))
    assert {255, 13, 11, 0} <= set(np.unique(ids).tolist())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"label": "spaceship", "polygon": [[0, 0], [1, 0], [1, 1]]}, ": there is no label 'space"),
        ({"label": "car"}, " lacks 'polygon'"),
        ({"label": "car", "polygon": [[0, 0], [1]]}, r" has 'polygon' \[\[0, 0\], \[1\]\]; wanted"),
        (
            {"label": "car", "polygon": [[0, 0]]},
            r" has 'polygon' \[\[0, 0\]\]; wanted at least two",
        ),
        ({"label": "car", "polygon": [[0, 0], [1, "a"]]}, " has 'polygon' .*; wanted numbers"),
    ],
)
def test_a_malformed_object_is_named(tmp_path, entry, message):
    file = tmp_path / "x_polygons.json"
    good = {"label": "car", "polygon": [[0, 0], [1, 0], [1, 1]]}
    file.write_text(json.dumps({"imgHeight": 4, "imgWidth": 4, "objects": [good, entry]}))
    with pytest.raises(ValueError, match=rf"x_polygons\.json': object 1{message}"):
        read_polygons(file)


@pytest.mark.parametrize(("height", "message"), [(0, "of 4x0 pixels"), (1 << 20, "of 4x1048576 p")])
def test_an_impossible_size_is_named(tmp_path, height, message):
    file = tmp_path / "x_polygons.json"
    file.write_text(json.dumps({"imgHeight": height, "imgWidth": 4, "objects": []}))
    with pytest.raises(ValueError, match=rf"x_polygons\.json' has an image {message}"):
        read_polygons(file)


# Maps


def test_semantic_labels_have_to_be_made_first(split):
    images, annotations = split
    with pytest.raises(FileNotFoundError, match=r"2 of 2 label images .*d2 data prepare citysc"):
        load_cityscapes_semantic(images, annotations)
    for frame in cityscapes_frames(images, annotations):
        frame.annotation("labelTrainIds.png").touch()
    first, _ = load_cityscapes_semantic(images, annotations)
    assert first == {
        "file_name": f"{images}/aachen/aachen_000000_000019_leftImg8bit.png",
        "sem_seg_file_name": f"{annotations}/aachen/aachen_000000_000019_gtFine_labelTrainIds.png",
        "height": 48,
        "width": 64,
    }


def write_panoptic(folder, image_id="aachen_000000_000019"):
    file = folder / "cityscapes_panoptic_train.json"
    segments = [
        {"id": 23, "category_id": 23, "area": 9, "bbox": [0, 0, 3, 3], "iscrowd": 0},
        {"id": 26001, "category_id": 26, "area": 9, "bbox": [0, 0, 3, 3], "iscrowd": 0},
    ]
    annotation = {
        "image_id": image_id,
        "file_name": f"{image_id}_gtFine_panoptic.png",
        "segments_info": segments,
    }
    file.write_text(json.dumps({"annotations": [annotation]}))
    return file


def test_panoptic_segments_get_the_classes_of_the_metadata(split, tmp_path):
    images, annotations = split
    file = write_panoptic(tmp_path)
    for frame in cityscapes_frames(images, annotations):
        frame.annotation("labelTrainIds.png").touch()
    metadata = Metadata(name="cityscapes", **read_vocabulary("cityscapes_panoptic"))
    (record,) = load_cityscapes_panoptic(images, annotations, file, tmp_path / "png", metadata)
    sky, car = record.pop("segments_info")
    assert (sky["category_id"], sky["isthing"], sky["id"]) == (10, False, 23)
    assert (car["category_id"], car["isthing"], car["id"]) == (13, True, 26001)
    base = "aachen_000000_000019"
    assert record == {
        "file_name": f"{images}/aachen/{base}_leftImg8bit.png",
        "image_id": base,
        "height": 48,
        "width": 64,
        "sem_seg_file_name": f"{annotations}/aachen/{base}_gtFine_labelTrainIds.png",
        "pan_seg_file_name": f"{tmp_path}/png/{base}_gtFine_panoptic.png",
    }


def test_a_panoptic_annotation_without_photograph_is_named(split, tmp_path):
    file = write_panoptic(tmp_path, "ulm_000000_000019")
    with pytest.raises(FileNotFoundError, match="no photograph of image 'ulm_000000_000019'"):
        load_cityscapes_panoptic(*split, file, tmp_path, Metadata(name="x"))


# Folders


def test_absent_folders_and_photographs_are_named(tmp_path, split):
    images, annotations = split
    with pytest.raises(FileNotFoundError, match="nowhere' of Cityscapes does not exist"):
        cityscapes_frames(images, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no photograph .*empty'/\{city\}/\*_leftImg8bit"):
        cityscapes_frames(tmp_path / "empty", annotations)
    for file in (annotations / "aachen").glob("*polygons.json"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"gtFine_polygons\.json"):
        load_cityscapes_instances(images, annotations)
