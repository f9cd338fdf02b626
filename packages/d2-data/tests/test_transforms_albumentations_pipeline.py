"""Pipelines of albumentations among augmentations."""

import copy
import os
import pickle

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network otherwise
A = pytest.importorskip("albumentations", reason="albumentations is not installed")

from d2_data import DatasetMapper, build_detection_train_loader  # noqa: E402
from d2_data import transforms as T  # noqa: E402
from d2_data.transforms.albumentations_pipeline import _through_maps  # noqa: E402
from d2_ops.host import rle_encode  # noqa: E402
from d2_structures import BoxMode  # noqa: E402

H, W = 60, 84

GEOMETRIC = {
    "flip": A.HorizontalFlip(p=1),
    "flip_down": A.VerticalFlip(p=1),
    "transpose": A.Transpose(p=1),
    "symmetry": A.D4(p=1),
    "quarter_turns": A.RandomRotate90(p=1),
    "rotate": A.Rotate(p=1),
    "rotate_all": A.SafeRotate(p=1),
    "affine": A.Affine(scale=(0.8, 1.2), rotate=(-30, 30), shear=(-10, 10), p=1),
    "affine_fit": A.Affine(rotate=(-30, 30), fit_output=True, p=1),
    "perspective": A.Perspective(p=1),
    "perspective_fit": A.Perspective(fit_output=True, p=1),
    "crop": A.RandomCrop(50, 70, p=1),
    "resize": A.Resize(100, 120, p=1),
    "shrink": A.LongestMaxSize(50, p=1),
    "random_scale": A.RandomScale((-0.3, 0.5), p=1),
    "resized_crop": A.RandomResizedCrop((64, 64), scale=(0.7, 1), p=1),
    "pad": A.PadIfNeeded(100, 100, p=1),
    "crop_and_pad": A.CropAndPad(percent=(-0.1, 0.1), p=1),
    "elastic": A.ElasticTransform(alpha=40, sigma=8, p=1),
    "lens": A.OpticalDistortion(p=1),
    "grid": A.GridDistortion(distort_limit=0.15, p=1),
    "safe_crop": A.RandomSizedBBoxSafeCrop(50, 60, p=1),
    "some": A.Compose([A.OneOf([A.Transpose(p=1), A.Rotate(p=1)], p=1), A.Resize(50, 70)]),
    "any_order": A.SomeOf([A.VerticalFlip(p=1), A.Pad(4, p=1), A.Rotate(p=1)], n=2, p=1),
    "sequential": A.Sequential([A.HorizontalFlip(p=0.5), A.RandomCrop(50, 70)], p=1),
    "replay": A.ReplayCompose([A.HorizontalFlip(p=0.5), A.RandomCrop(50, 70)]),
}
PHOTOMETRIC = {
    "brightness": A.RandomBrightnessContrast(p=1),
    "noise": A.GaussNoise(p=1),
    "blur": A.GaussianBlur(p=1),
    "jpeg": A.ImageCompression(p=1),
}


def blob(x, y):
    image = np.zeros((H, W, 3), np.uint8)
    image[y - 3 : y + 4, x - 3 : x + 4] = 200
    return image


def centre(image):
    weights = np.asarray(image, float).reshape(*image.shape[:2], -1).sum(axis=2)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()


def drawn(transform, seed):
    """What a list with the transform makes of a blob: its input, the transform, where it was."""
    np.random.seed(seed)
    x, y = np.random.randint(20, W - 20), np.random.randint(18, H - 18)
    image = blob(x, y)
    boxes = np.array([[x - 3.0, y - 3, x + 4, y + 4]])
    given = T.AugInput(image, boxes=boxes, sem_seg=(image[..., 0] > 0).astype(np.uint8))
    return given, T.AugmentationList([transform])(given), (x + 0.5, y + 0.5)


def whole(image):
    """Whether no part of the blob is near the border."""
    rows, columns = np.nonzero(image.max(axis=2))
    return (
        len(rows)
        and min(rows.min(), columns.min()) > 1
        and (rows.max() < image.shape[0] - 2 and columns.max() < image.shape[1] - 2)
    )


@pytest.mark.parametrize("name", GEOMETRIC)
def test_points_boxes_labels_and_polygons_move_with_the_image(name):
    seen = 0
    for seed in range(20):
        given, transform, place = drawn(GEOMETRIC[name], seed)
        if not whole(given.image):
            continue
        seen += 1
        expected = centre(given.image)
        tolerance = 1.0 if name == "grid" else 0.15  # it has kinks
        moved = transform.apply_coords(np.array([place]))[0]
        np.testing.assert_allclose(moved, expected, atol=tolerance)
        # Labels are resampled by the nearest pixel, up to one pixel off.
        np.testing.assert_allclose(centre(given.sem_seg), expected, atol=1.0)
        np.testing.assert_allclose((given.boxes[0, :2] + given.boxes[0, 2:]) / 2, expected, atol=1)
        x, y = place
        square = np.array([[x - 3, y - 3], [x + 3, y - 3], [x + 3, y + 3], [x - 3, y + 3]])
        (outline,) = transform.apply_polygons([square])
        np.testing.assert_allclose(outline.mean(axis=0), expected, atol=1.0)
    assert seen >= 3


@pytest.mark.parametrize("name", [*GEOMETRIC, *PHOTOMETRIC])
def test_image_is_transformed_the_same_again_and_from_the_same_seed(name):
    transform = {**GEOMETRIC, **PHOTOMETRIC}[name]
    for seed in range(4):
        given, applied, place = drawn(transform, seed)
        x, y = int(place[0]), int(place[1])
        again = applied.apply_image(blob(x, y))
        np.testing.assert_array_equal(again, given.image)
        other, _, _ = drawn(copy.deepcopy(transform), seed)
        np.testing.assert_array_equal(other.image, given.image)
        np.testing.assert_array_equal(other.boxes, given.boxes)


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_changes_of_colour_move_nothing_and_need_no_undoing(name):
    given, transform, place = drawn(PHOTOMETRIC[name], 0)
    assert not np.array_equal(given.image, blob(int(place[0]), int(place[1])))
    points = np.array([place])
    np.testing.assert_array_equal(transform.apply_coords(points), points)
    np.testing.assert_array_equal(transform.inverse().apply_coords(points), points)
    np.testing.assert_allclose(given.boxes.mean(axis=0), [*place, *place][0:4], atol=4)


@pytest.mark.parametrize("name", ["rotate", "crop", "elastic", "pad"])
def test_geometric_transforms_say_that_they_have_no_inverse(name):
    _, transform, _ = drawn(GEOMETRIC[name], 0)
    wanted = r"of albumentations has no inverse; .* transforms of d2_data\.transforms"
    with pytest.raises(NotImplementedError, match=wanted):
        transform.inverse()


@pytest.mark.parametrize("pipeline", [A.HorizontalFlip(p=1), A.Compose([A.HorizontalFlip(p=1)])])
def test_flips_are_known_as_flips_and_inverted(pipeline):
    _, transform, _ = drawn(pipeline, 0)
    assert sum(isinstance(step, T.HFlipTransform) for step in transform.transforms) == 1
    points = np.array([[1.0, 2.0]])
    moved = transform.apply_coords(points)
    np.testing.assert_array_equal(moved, [[W - 1, 2]])
    np.testing.assert_array_equal(transform.inverse().apply_coords(moved), points)


def test_boxes_beyond_the_limits_of_the_pipeline_are_dropped_in_place():
    params = A.BboxParams("coco", min_area=30, min_visibility=0.4)
    pipeline = A.Compose([A.Crop(0, 0, 40, 40)], bbox_params=params)
    boxes = np.array([[0.0, 0, 5, 5], [2, 2, 12, 12], [30, 30, 60, 60], [36, 0, 44, 40]])
    given = T.AugInput(np.zeros((H, W, 3), np.uint8), boxes=boxes)
    transform = T.AugmentationList([pipeline])(given)
    expected = [[0, 0, 0, 0], [2, 2, 12, 12], [0, 0, 0, 0], [36, 0, 40, 40]]
    np.testing.assert_allclose(given.boxes, expected, atol=1e-5)
    for box, wanted in zip(boxes, expected, strict=True):
        np.testing.assert_allclose(transform.apply_box(box[None])[0], wanted, atol=1e-5)


def test_dropped_objects_are_left_out_of_the_mapper_s_targets_in_order(tmp_path):
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(tmp_path / "a.png")
    boxes = [[2, 2, 12, 12], [0, 0, 5, 5], [20, 20, 32, 30], [38, 0, 60, 40]]
    record = {
        "file_name": str(tmp_path / "a.png"),
        "annotations": [
            {
                "bbox": box,
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": k,
                "segmentation": [[box[0], box[1], box[2], box[1], box[2], box[3]]],
                "keypoints": [box[0], box[1], 2, box[2], box[3], 2],
            }
            for k, box in enumerate(boxes)
        ],
    }
    params = A.BboxParams("pascal_voc", min_area=30, min_visibility=0.5)
    pipeline = A.Compose([A.Crop(0, 0, 40, 40)], bbox_params=params)
    mapper = DatasetMapper(
        True,
        augmentations=[pipeline],
        image_format="RGB",
        use_instance_mask=True,
        use_keypoint=True,
    )
    instances = mapper(record)["instances"]
    assert instances.gt_classes.tolist() == [0, 2]
    expected = [[2, 2, 12, 12], [20, 20, 32, 30]]
    np.testing.assert_allclose(instances.gt_boxes.tensor, expected, atol=1e-5)
    assert instances.gt_keypoints.tensor[:, 0].tolist() == [[2, 2, 2], [20, 20, 2]]


def test_keypoints_exchange_sides_under_the_library_s_flip(tmp_path):
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(tmp_path / "a.png")
    annotation = {
        "bbox": [2, 2, 12, 12],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "keypoints": [3.0, 4, 2, 9.0, 4, 1],
    }
    mapper = DatasetMapper(
        True,
        augmentations=[A.HorizontalFlip(p=1)],
        image_format="RGB",
        use_keypoint=True,
        keypoint_hflip_indices=[1, 0],
    )
    record = {"file_name": str(tmp_path / "a.png"), "annotations": [annotation]}
    keypoints = mapper(record)["instances"].gt_keypoints.tensor[0]
    assert keypoints.tolist() == [[W - 9, 4, 1], [W - 3, 4, 2]]


@pytest.mark.parametrize("name", ["affine", "perspective", "resized_crop", "crop_and_pad", "flip"])
@pytest.mark.parametrize("run_lengths", [False, True])
def test_boxes_of_mapped_objects_enclose_their_masks(tmp_path, name, run_lengths):
    image = blob(40, 30)
    Image.fromarray(image).save(tmp_path / "a.png")
    mask = image[..., 0] > 0
    polygon = [[37, 27, 44, 27, 44, 34, 37, 34]]
    record = {
        "file_name": str(tmp_path / "a.png"),
        "annotations": [
            {
                "bbox": [37, 27, 44, 34],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "segmentation": rle_encode(mask) if run_lengths else polygon,
            }
        ],
    }
    mapper = DatasetMapper(
        True,
        augmentations=[A.Compose([GEOMETRIC[name]])],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )
    for seed in range(10):
        np.random.seed(seed)
        mapped = mapper(record)
        instances = mapped["instances"]
        assert len(instances) == 1
        drawn_box = instances.gt_masks.get_bounding_boxes().tensor[0]
        box = instances.gt_boxes.tensor[0]
        assert (drawn_box[:2] >= box[:2] - 1).all()
        assert (drawn_box[2:] <= box[2:] + 1).all()
        bright = mapped["image"][0].numpy() > 100
        assert (bright & instances.gt_masks.tensor[0].numpy()).sum() > 0.7 * bright.sum()


def test_pipeline_that_looks_at_boxes_is_given_those_of_the_input():
    pipeline = A.Compose([A.AtLeastOneBBoxRandomCrop(20, 20)])
    box = np.array([[60.0, 40, 64, 44]])
    for seed in range(10):
        np.random.seed(seed)
        given = T.AugInput(blob(30, 30), boxes=box)
        T.AugmentationList([pipeline])(given)
        assert given.image.shape == (20, 20, 3)
        assert (given.boxes[0, 2:] > given.boxes[0, :2]).all()


def test_pipeline_that_looks_at_labels_is_given_those_of_the_input():
    pipeline = A.CropNonEmptyMaskIfExists(20, 20, p=1)
    for seed in range(10):
        np.random.seed(seed)
        labels = np.zeros((H, W), np.int64)
        labels[50, 70] = 3
        given = T.AugInput(blob(30, 30), sem_seg=labels)
        T.AugmentationList([pipeline])(given)
        assert (given.sem_seg == 3).sum() == 1
        assert given.sem_seg.dtype == np.int64


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_labels_keep_their_type_and_values(dtype):
    labels = np.zeros((H, W), dtype)
    labels[10:40, 10:40] = 1 if dtype is bool else 100
    for pipeline in (A.Rotate(p=1), A.Resize(90, 90, p=1)):
        given = T.AugInput(blob(30, 30), sem_seg=labels)
        T.AugmentationList([pipeline])(given)
        assert given.sem_seg.dtype == dtype
        assert set(np.unique(given.sem_seg)) == set(np.unique(labels))


def test_objects_under_dropped_pixels_are_dropped_as_the_library_does():
    hole = A.CoarseDropout(
        num_holes_range=(1, 1), hole_height_range=(H, H), hole_width_range=(W, W), p=1
    )
    boxes = np.array([[5.0, 5, 20, 20]])
    given = T.AugInput(blob(30, 30), boxes=boxes)
    params = A.BboxParams("pascal_voc", min_visibility=0.1)
    transform = T.AugmentationList([A.Compose([hole], bbox_params=params)])(given)
    assert given.boxes.tolist() == [[0, 0, 0, 0]]
    points = np.array([[5.0, 6.0]])
    np.testing.assert_array_equal(transform.apply_coords(points), points)


def test_shuffled_tiles_tear_outlines_apart_and_say_so():
    _, transform, _ = drawn(A.RandomGridShuffle((2, 2), p=1), 0)
    with pytest.raises(NotImplementedError, match="tears outlines apart; give masks as"):
        transform.apply_polygons([np.array([[0.0, 0], [9, 0], [9, 9]])])


def test_pipeline_of_the_user_stays_as_it_is_and_its_seed_is_not_ignored_in_silence(caplog):
    pipeline = A.Compose(
        [A.HorizontalFlip(p=0.5)], bbox_params=A.BboxParams("coco", label_fields=["c"]), seed=137
    )
    expected = [pipeline.py_random.random() for _ in range(3)]
    pipeline.set_random_seed(137)
    augmentations = T.AugmentationList([pipeline])
    augmentations(T.AugInput(blob(30, 30), boxes=np.array([[1.0, 2, 3, 4]])))
    assert [pipeline.py_random.random() for _ in range(3)] == expected
    assert "bboxes" in pipeline.processors
    assert "seed 137 of the albumentations pipeline is not used" in caplog.text


def test_list_with_a_pipeline_goes_to_other_processes():
    augmentations = pickle.loads(pickle.dumps(T.AugmentationList([A.Compose([A.Rotate(p=1)])])))
    given = T.AugInput(blob(30, 30))
    assert len(augmentations(given).transforms) == 2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_do_not_depend_on_the_number_of_workers(tmp_path):
    rng = np.random.default_rng(0)
    records = []
    for k in range(4):
        Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
        box = {"bbox": [5, 5, 50, 40], "bbox_mode": BoxMode.XYXY_ABS, "category_id": k}
        records.append(
            {"file_name": str(tmp_path / f"{k}.png"), "height": H, "width": W, "annotations": [box]}
        )
    pipeline = A.Compose([A.RandomCrop(40, 50), A.GaussNoise(p=1), A.Rotate(p=1)])

    def batches(workers):
        mapper = DatasetMapper(True, augmentations=[pipeline, T.RandomFlip()], image_format="RGB")
        loader = build_detection_train_loader(
            records, mapper=mapper, total_batch_size=2, num_workers=workers, seed=3
        )
        return [
            (s["image"].tolist(), s["instances"].gt_boxes.tensor.tolist())
            for _, batch in zip(range(3), loader, strict=False)
            for s in batch
        ]

    alone = batches(0)
    assert batches(2) == alone


def test_points_are_found_again_through_any_map():
    ys, xs = np.mgrid[:H, :W].astype(float)
    maps = np.stack([xs + 4 * np.sin(ys / 9), ys + 3 * np.cos(xs / 11)], axis=-1)
    rng = np.random.default_rng(0)
    places = rng.uniform([6, 6], [W - 6, H - 6], (50, 2))
    for row, column in rng.integers([8, 8], [H - 8, W - 8], (30, 2)):
        before = maps[row, column] + 0.5
        np.testing.assert_allclose(
            _through_maps(before[None], maps)[0], [column + 0.5, row + 0.5], atol=1e-3
        )
    folded = np.stack([np.minimum(2 * xs, W - 1), ys], axis=-1)
    found = _through_maps(places, folded)
    np.testing.assert_allclose(found[:, 0], (places[:, 0] - 0.5) / 2 + 0.5, atol=0.6)
