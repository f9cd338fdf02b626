import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets.shapes import ShapesDataset, generate_shapes, register_shapes
from d2_data.datasets.shapes.geometry import (
    CLASSES,
    KEYPOINTS,
    draw_outline,
    outline_area,
    outline_keypoints,
)
from d2_data.datasets.shapes.scene import SceneRecipe, draw_scene
from d2_ops.host import polygons_to_bitmask

NUM_IMAGES = 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShapesDataset:
    return generate_shapes(
        tmp_path_factory.mktemp("shapes") / "set", NUM_IMAGES, image_size=(96, 128), seed=3
    )


@pytest.fixture
def forget_datasets():
    names = ["shapes_test", "shapes_test_standard", "shapes_test_separated"]
    yield names
    for name in names:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
        if name in MetadataCatalog:
            MetadataCatalog.remove(name)


def instances(dataset: ShapesDataset) -> dict:
    return json.loads(dataset.instances_json.read_text())


def digest_of_files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rasterise(polygons: list[list[int]], height: int, width: int) -> np.ndarray:
    arrays = [np.array(polygon, dtype=np.float64) for polygon in polygons]
    return polygons_to_bitmask(arrays, height, width)


def read_pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def segment_ids(dataset: ShapesDataset, file_name: str) -> np.ndarray:
    pixels = read_pixels(dataset.panoptic_root / file_name).astype(int)
    return pixels[:, :, 0] + 256 * pixels[:, :, 1] + 65536 * pixels[:, :, 2]


# Determinism


def test_the_same_parameters_give_the_same_bytes(tmp_path):
    first = generate_shapes(tmp_path / "a", 3, image_size=64, seed=5)
    second = generate_shapes(tmp_path / "b", 3, image_size=64, seed=5)
    assert digest_of_files(first.root) == digest_of_files(second.root)


def test_worker_processes_give_the_same_bytes(tmp_path):
    alone = generate_shapes(tmp_path / "a", 3, image_size=64, seed=5)
    pooled = generate_shapes(tmp_path / "b", 3, image_size=64, seed=5, num_workers=1)
    assert digest_of_files(alone.root) == digest_of_files(pooled.root)


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path):
    few = generate_shapes(tmp_path / "few", 1, image_size=64, seed=5)
    more = generate_shapes(tmp_path / "more", 2, image_size=64, seed=5)
    name = "images/000000.png"
    assert (few.root / name).read_bytes() == (more.root / name).read_bytes()


def test_another_seed_gives_other_pictures(tmp_path):
    one = generate_shapes(tmp_path / "a", 2, image_size=64, seed=0)
    two = generate_shapes(tmp_path / "b", 2, image_size=64, seed=1)
    seen = {path.read_bytes() for dataset in (one, two) for path in dataset.image_root.iterdir()}
    assert len(seen) == 4


def test_the_first_pictures_of_the_default_seed_stay_what_they_were(tmp_path):
    """Fails when the generator changed: raise GENERATOR_VERSION and state the new values."""
    annotations = instances(generate_shapes(tmp_path / "set", 3))["annotations"]
    assert [a["category_id"] for a in annotations] == [4, 2, 3, 2, 2, 1, 2, 3]
    expected = [
        [34, 2, 37, 38],
        [25, 68, 19, 21],
        [3, 91, 42, 24],
        [49, 47, 19, 17],
        [0, 69, 22, 54],
        [86, 37, 42, 52],
        [98, 48, 19, 18],
        [71, 37, 21, 14],
    ]
    found = [a["bbox"] for a in annotations]
    # Pillow's rasteriser may differ by a pixel on the rim between versions.
    np.testing.assert_allclose(found, expected, atol=1)


# Files


def test_count_and_size_are_respected(dataset):
    content = instances(dataset)
    assert len(content["images"]) == NUM_IMAGES
    for image in content["images"]:
        assert (image["height"], image["width"]) == (96, 128)
        assert read_pixels(dataset.image_root / image["file_name"]).shape == (96, 128, 3)


def test_every_picture_has_every_label_file(dataset):
    names = sorted(path.name for path in dataset.image_root.iterdir())
    for folder in (dataset.semantic_root, dataset.stuff_root, dataset.panoptic_root):
        assert sorted(path.name for path in folder.iterdir()) == names


def test_an_existing_dataset_is_reused(dataset):
    before = dataset.instances_json.stat().st_mtime_ns
    again = generate_shapes(dataset.root, NUM_IMAGES, image_size=(96, 128), seed=3)
    assert again == dataset
    assert dataset.instances_json.stat().st_mtime_ns == before


def test_other_parameters_in_the_same_folder_are_an_error(dataset):
    with pytest.raises(ValueError, match=r"seed 3 instead of 4"):
        generate_shapes(dataset.root, NUM_IMAGES, image_size=(96, 128), seed=4)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no shapes dataset"):
        generate_shapes(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    target = tmp_path / "empty"
    target.mkdir()
    assert generate_shapes(target, 1, image_size=64).instances_json.exists()


def test_a_failed_generation_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        generate_shapes(tmp_path / "set", 2, image_size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"num_images": 0}, "num_images"),
        ({"seed": -1}, "seed"),
        ({"num_workers": -1}, "num_workers"),
        ({"image_size": (16, 64)}, "at least 32"),
        ({"image_size": (64, 64, 3)}, "image_size"),
        ({"objects_per_image": (3, 2)}, "objects_per_image"),
        ({"objects_per_image": (0, 2)}, "objects_per_image"),
        ({"object_size": (0.5, 1.5)}, "object_size"),
    ],
)
def test_parameters_out_of_range_are_named(tmp_path, parameters, message):
    arguments = {"num_images": 1, **parameters}
    with pytest.raises(ValueError, match=message):
        generate_shapes(tmp_path / "set", **arguments)
    assert list(tmp_path.iterdir()) == []


# Annotations


def test_pycocotools_reads_the_annotations(dataset, capsys):
    coco = pytest.importorskip("pycocotools.coco").COCO(str(dataset.instances_json))
    capsys.readouterr()
    assert len(coco.getImgIds()) == NUM_IMAGES
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = rasterise(annotation["segmentation"], 96, 128)
        assert mask.sum() == annotation["area"]


def test_boxes_are_tight_around_masks(dataset):
    for annotation in instances(dataset)["annotations"]:
        mask = rasterise(annotation["segmentation"], 96, 128)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y, width, height = annotation["bbox"]
        assert (x, y) == (columns[0], rows[0])
        assert (x + width, y + height) == (columns[-1] + 1, rows[-1] + 1)


def test_polygons_give_back_the_panoptic_segments(dataset):
    panoptic = json.loads(dataset.panoptic_json.read_text())
    annotations = instances(dataset)["annotations"]
    for entry in panoptic["annotations"]:
        ids = segment_ids(dataset, entry["file_name"])
        things = [s for s in entry["segments_info"] if s["category_id"] <= len(CLASSES)]
        own = [a for a in annotations if a["image_id"] == entry["image_id"]]
        assert [s["category_id"] for s in things] == [a["category_id"] for a in own]
        for segment, annotation in zip(things, own, strict=True):
            mask = rasterise(annotation["segmentation"], 96, 128)
            np.testing.assert_array_equal(mask, ids == segment["id"])
            assert segment["bbox"] == annotation["bbox"]


def test_panoptic_segments_cover_every_pixel_once(dataset):
    panoptic = json.loads(dataset.panoptic_json.read_text())
    for entry in panoptic["annotations"]:
        ids, counts = np.unique(segment_ids(dataset, entry["file_name"]), return_counts=True)
        declared = {s["id"]: s["area"] for s in entry["segments_info"]}
        assert declared == dict(zip(ids.tolist(), counts.tolist(), strict=True))


def test_semantic_labels_are_the_classes_of_the_panoptic_segments(dataset):
    panoptic = json.loads(dataset.panoptic_json.read_text())
    for entry in panoptic["annotations"]:
        ids = segment_ids(dataset, entry["file_name"])
        semantic = read_pixels(dataset.semantic_root / entry["file_name"])
        stuff = read_pixels(dataset.stuff_root / entry["file_name"])
        for segment in entry["segments_info"]:
            mask = ids == segment["id"]
            category = segment["category_id"]
            assert set(semantic[mask].tolist()) == {category - 1}
            expected = max(category - len(CLASSES), 0)
            assert set(stuff[mask].tolist()) == {expected}


def test_keypoints_lie_in_the_picture_and_are_counted(dataset):
    content = instances(dataset)
    assert all(c["keypoints"] == list(KEYPOINTS) for c in content["categories"])
    for annotation in content["annotations"]:
        points = np.array(annotation["keypoints"]).reshape(len(KEYPOINTS), 3)
        assert annotation["num_keypoints"] == np.count_nonzero(points[:, 2])
        absent = points[:, 2] == 0
        assert not points[absent].any()
        assert (points[~absent, :2] >= -0.5).all()
        assert (points[~absent, :2] <= (127.5, 95.5)).all()


def test_seen_keypoints_lie_at_the_mask(dataset):
    for annotation in instances(dataset)["annotations"]:
        mask = rasterise(annotation["segmentation"], 96, 128)
        for x, y, visibility in np.array(annotation["keypoints"]).reshape(-1, 3):
            if visibility == 2:
                rows, columns = np.nonzero(mask)
                assert np.hypot(columns - x, rows - y).min() < 3


def test_objects_overlap_vary_in_size_and_come_in_all_classes(dataset):
    annotations = instances(dataset)["annotations"]
    areas = [a["area"] for a in annotations]
    assert {a["category_id"] for a in annotations} == {1, 2, 3, 4}
    assert max(areas) > 8 * min(areas)
    hidden = [a for a in annotations if 1 in a["keypoints"][2::3]]
    assert hidden


# Scenes and geometry


def test_visible_masks_do_not_overlap():
    recipe = SceneRecipe((64, 64), objects_per_image=(6, 6))
    for seed in range(5):
        scene = draw_scene(np.random.default_rng(seed), recipe)
        covered = np.sum([item.mask for item in scene.objects], axis=0)
        assert covered.max() == 1


def test_objects_stand_out_from_what_is_behind_them():
    recipe = SceneRecipe((64, 64), objects_per_image=(1, 1), object_size=(0.4, 0.6))
    for seed in range(8):
        scene = draw_scene(np.random.default_rng(seed), recipe)
        mask = scene.objects[0].mask
        image = scene.image.astype(float)
        assert np.abs(image[mask].mean(axis=0) - image[~mask].mean(axis=0)).max() > 10


@pytest.mark.parametrize("class_id", range(len(CLASSES)), ids=CLASSES)
def test_outlines_fit_into_their_circle(class_id):
    rng = np.random.default_rng(0)
    for _ in range(20):
        outline = draw_outline(rng, class_id, diameter=40.0)
        assert np.hypot(*outline.T).max() <= 20.05
        assert 0.1 * 400 * np.pi < outline_area(outline) <= 400 * np.pi


def test_keypoints_are_the_centre_and_the_extremes():
    square = np.array([[10.0, 10], [30, 10], [30, 20], [10, 20]])
    center, top, right, bottom, left = outline_keypoints(square)
    assert center.tolist() == [20, 15]
    assert top[1] == 10
    assert right[0] == 30
    assert bottom[1] == 20
    assert left[0] == 10


# Registration


def test_registered_shapes_are_generated_on_first_use(tmp_path, forget_datasets):
    name = forget_datasets[0]
    root = tmp_path / "set"
    register_shapes(name, root, 2, image_size=64, seed=1)
    assert not root.exists()
    samples = DatasetCatalog.get(name)
    assert [Path(s["file_name"]).name for s in samples] == ["000000.png", "000001.png"]
    assert set(samples[0]) == {"file_name", "height", "width", "image_id", "annotations"}
    assert all(0 <= a["category_id"] < 4 for s in samples for a in s["annotations"])


def test_metadata_is_there_before_the_samples(tmp_path, forget_datasets):
    name = forget_datasets[0]
    register_shapes(name, tmp_path / "set", 1, image_size=64)
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == list(CLASSES)
    assert metadata.keypoint_flip_map == [("left", "right")]
    assert metadata.evaluator_type == "coco"
    assert metadata.json_file == str(tmp_path / "set" / "instances.json")
    DatasetCatalog.get(name)  # the file agrees with what was declared


def test_standard_panoptic_samples_point_to_matching_files(dataset, forget_datasets):
    name = forget_datasets[1]
    register_shapes(name, dataset.root, panoptic="standard")
    metadata = MetadataCatalog.get(name)
    for sample in DatasetCatalog.get(name):
        ids = segment_ids(dataset, Path(sample["pan_seg_file_name"]).name)
        semantic = read_pixels(sample["sem_seg_file_name"])
        assert semantic.max() < len(metadata.stuff_classes)
        for segment in sample["segments_info"]:
            assert set(semantic[ids == segment["id"]].tolist()) == {segment["category_id"]}
            assert segment["isthing"] == (segment["category_id"] < len(CLASSES))


def test_separated_panoptic_samples_label_every_object_zero(dataset, forget_datasets):
    name = forget_datasets[2]
    register_shapes(name, dataset.root, panoptic="separated")
    assert MetadataCatalog.get(name).stuff_classes[0] == "things"
    for sample in DatasetCatalog.get(name):
        stuff = read_pixels(sample["sem_seg_file_name"])
        for annotation in sample["annotations"]:
            mask = rasterise(annotation["segmentation"], 96, 128)
            assert not stuff[mask].any()


def test_a_missing_dataset_without_parameters_is_an_error(tmp_path, forget_datasets):
    register_shapes(forget_datasets[0], tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"instances\.json"):
        DatasetCatalog.get(forget_datasets[0])


def test_generation_parameters_need_a_count(tmp_path, forget_datasets):
    with pytest.raises(TypeError, match="give num_images"):
        register_shapes(forget_datasets[0], tmp_path, seed=3)


def test_an_unknown_panoptic_layout_is_an_error(tmp_path, forget_datasets):
    with pytest.raises(ValueError, match="'standard' or 'separated'"):
        register_shapes(forget_datasets[0], tmp_path, panoptic="merged")


def test_the_builtin_splits_are_known_and_use_different_seeds(monkeypatch, tmp_path):
    assert "shapes_train" in DatasetCatalog.list()
    assert "shapes_val" in DatasetCatalog.list()
    train, val = MetadataCatalog.get("shapes_train"), MetadataCatalog.get("shapes_val")
    assert train.json_file != val.json_file
    assert train.thing_classes == val.thing_classes == list(CLASSES)
