"""Transforms of torchvision.transforms.v2 among augmentations."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

v2 = pytest.importorskip("torchvision.transforms.v2", reason="torchvision is not installed")

from d2_data import DatasetMapper  # noqa: E402
from d2_data import transforms as T  # noqa: E402
from d2_structures import BoxMode  # noqa: E402

H, W = 60, 84

GEOMETRIC = {
    "flip": v2.RandomHorizontalFlip(1.0),
    "flip_down": v2.RandomVerticalFlip(1.0),
    "resize": v2.Resize((100, 120)),
    "shrink": v2.Resize(40),
    "shortest_size": v2.RandomShortestSize([40, 80]),
    "resized_crop": v2.RandomResizedCrop((64, 64), scale=(0.6, 1)),
    "center_crop": v2.CenterCrop((40, 60)),
    "crop": v2.RandomCrop((50, 70)),
    "crop_padded": v2.RandomCrop((70, 90), pad_if_needed=True),
    "pad": v2.Pad([3, 4, 5, 6]),
    "zoom_out": v2.RandomZoomOut(p=1.0, side_range=(1.0, 2.0)),
    "rotate": v2.RandomRotation(40, interpolation=v2.InterpolationMode.BILINEAR),
    "affine": v2.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10),
    "perspective": v2.RandomPerspective(0.3, p=1.0),
    "elastic": v2.ElasticTransform(20.0, 6.0),
    "jitter": v2.ScaleJitter((80, 80), (0.5, 1.5)),
    "in_turn": v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop((50, 70)), v2.Pad(2)]),
    "perhaps": v2.RandomApply([v2.RandomRotation(30), v2.Pad(4)], p=0.5),
    "one_of": v2.RandomChoice([v2.RandomVerticalFlip(1.0), v2.Pad(4)], p=[0.3, 0.7]),
    "any_order": v2.RandomOrder([v2.RandomHorizontalFlip(1.0), v2.Pad([9, 0, 0, 0])]),
    "pillow": v2.Compose([v2.ToPILImage(), v2.Resize((80, 90))]),
}
PHOTOMETRIC = {
    "jitter": v2.ColorJitter(0.5, 0.5, 0.5, 0.1),
    "grey": v2.RandomInvert(1.0),
    "blur": v2.GaussianBlur(5, sigma=(1.0, 2.0)),
    "posterise": v2.RandomPosterize(2, p=1.0),
    "noise": v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise()]),
    "distort": v2.RandomPhotometricDistort(p=1.0),
}


def blob(x, y):
    image = np.zeros((H, W, 3), np.uint8)
    image[y - 3 : y + 4, x - 3 : x + 4] = (200, 100, 50)
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
    rows, columns = np.nonzero(image.max(axis=2))
    far = (image.shape[0] - 2, image.shape[1] - 2)
    return (
        len(rows) > 0
        and min(rows.min(), columns.min()) > 1
        and (rows.max() < far[0] and columns.max() < far[1])
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
        # Where torchvision resamples by the nearest pixel, or looks up points in a grid, it is off.
        tolerance = 0.8 if name in ("affine", "elastic", "perhaps") else 0.2
        moved = transform.apply_coords(np.array([place]))[0]
        np.testing.assert_allclose(moved, expected, atol=tolerance)
        np.testing.assert_allclose(centre(given.sem_seg), expected, atol=1.0)
        box_centre = (given.boxes[0, :2] + given.boxes[0, 2:]) / 2
        np.testing.assert_allclose(box_centre, expected, atol=1.0)
        x, y = place
        square = np.array([[x - 3, y - 3], [x + 3, y - 3], [x + 3, y + 3], [x - 3, y + 3]])
        (outline,) = transform.apply_polygons([square])
        np.testing.assert_allclose(outline.mean(axis=0), expected, atol=1.0)
    assert seen >= 3


@pytest.mark.parametrize("name", GEOMETRIC)
def test_image_is_transformed_the_same_again_and_from_the_same_seed(name):
    for seed in range(4):
        given, applied, place = drawn(GEOMETRIC[name], seed)
        again = applied.apply_image(blob(int(place[0]), int(place[1])))
        np.testing.assert_array_equal(again, given.image)
        torch.manual_seed(1000 + seed)
        other, _, _ = drawn(GEOMETRIC[name], seed)
        np.testing.assert_array_equal(other.image, given.image)
        np.testing.assert_array_equal(other.boxes, given.boxes)


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_changes_of_colour_move_nothing_and_need_no_undoing(name):
    given, transform, place = drawn(PHOTOMETRIC[name], 0)
    image = blob(int(place[0]), int(place[1]))
    assert not np.array_equal(given.image, image)
    np.testing.assert_array_equal(transform.apply_image(image), given.image)
    points = np.array([place])
    np.testing.assert_array_equal(transform.apply_coords(points), points)
    np.testing.assert_array_equal(transform.inverse().apply_coords(points), points)
    np.testing.assert_array_equal(transform.apply_segmentation(image[..., 0]), image[..., 0])


def test_draws_leave_torch_s_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    drawn(v2.Compose([v2.ColorJitter(0.5), v2.ToDtype(torch.float32), v2.GaussianNoise()]), 0)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["rotate", "resized_crop", "elastic", "pad"])
def test_geometric_transforms_say_that_they_have_no_inverse(name):
    _, transform, _ = drawn(GEOMETRIC[name], 0)
    wanted = r"of torchvision has no inverse; .* transforms of d2_data\.transforms"
    with pytest.raises(NotImplementedError, match=wanted):
        transform.inverse()


def test_flips_are_known_as_flips_and_inverted():
    _, transform, _ = drawn(v2.Compose([v2.RandomHorizontalFlip(1.0)]), 0)
    assert [type(step) for step in transform.transforms] == [T.HFlipTransform]
    points = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(transform.inverse().apply_coords(points), [[W - 1, 2]])


def test_flips_come_as_often_as_they_should():
    flips = [len(drawn(v2.RandomApply([v2.Pad(1)], p=0.25), seed)[1]) for seed in range(400)]
    assert 60 < sum(flips) < 140
    kinds = [drawn(v2.RandomHorizontalFlip(0.75), seed)[1][0] for seed in range(400)]
    assert 260 < sum(isinstance(kind, T.HFlipTransform) for kind in kinds) < 340


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_labels_keep_their_type_and_values(dtype):
    labels = np.zeros((H, W), dtype)
    labels[10:40, 10:40] = 1 if dtype is bool else 100
    for transform in (v2.RandomRotation(30), v2.Resize((90, 90)), v2.RandomPerspective(p=1.0)):
        given = T.AugInput(blob(30, 30), sem_seg=labels)
        T.AugmentationList([transform])(given)
        assert given.sem_seg.dtype == dtype
        assert set(np.unique(given.sem_seg)) == set(np.unique(labels))


@pytest.mark.parametrize("shape", [(H, W), (H, W, 1), (H, W, 3)])
def test_images_keep_their_dimensions(shape):
    given = T.AugInput(np.zeros(shape, np.uint8))
    T.AugmentationList([v2.Resize((30, 40))])(given)
    assert given.image.shape == (30, 40, *shape[2:])


def test_crop_by_overlap_looks_at_boxes_and_drops_those_whose_centre_it_cuts_off():
    boxes = np.array([[10.0, 10, 30, 30], [50, 30, 80, 58]])
    seen = set()
    for seed in range(30):
        np.random.seed(seed)
        given = T.AugInput(np.zeros((H, W, 3), np.uint8), boxes=boxes)
        transform = T.AugmentationList([v2.RandomIoUCrop()])(given)
        kept = (given.boxes[:, 2:] > given.boxes[:, :2]).all(axis=1)
        if isinstance(transform[0], T.CropTransform):
            crop = transform[0]
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - [crop.x0, crop.y0]
            inside = ((centres > 0) & (centres < [crop.w, crop.h])).all(axis=1)
            np.testing.assert_array_equal(kept, inside)
            assert inside.any()
        for box, moved in zip(boxes, given.boxes, strict=True):
            np.testing.assert_array_equal(transform.apply_box(box[None])[0], moved)
        seen.add(tuple(kept))
    assert len(seen) >= 3
    with pytest.raises(ValueError, match=r"looks at the boxes.*AugInput\(image, boxes=boxes\)"):
        T.AugmentationList([v2.RandomIoUCrop()])(T.AugInput(blob(30, 30)))


def test_sanitised_boxes_are_dropped_in_place():
    boxes = np.array([[0.0, 0, 50, 50], [80, 50, 90, 70], [10, 10, 12, 40]])
    given = T.AugInput(blob(30, 30), boxes=boxes)
    chain = v2.Compose(
        [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=5, labels_getter=None)]
    )
    transform = T.AugmentationList([chain])(given)
    assert given.boxes.tolist() == [[0, 0, 50, 50], [0, 0, 0, 0], [0, 0, 0, 0]]
    points = np.array([[99.0, 99.0]])
    np.testing.assert_array_equal(transform.apply_coords(points), points)
    np.testing.assert_array_equal(transform.inverse().apply_box(boxes), boxes)


@pytest.mark.parametrize(
    "transform", [v2.AutoAugment(), v2.RandAugment(), v2.TrivialAugmentWide(), v2.AugMix()]
)
def test_transforms_of_pictures_alone_say_that_they_cannot_move_boxes(transform):
    augmented = T.AugInput(blob(30, 30))
    applied = T.AugmentationList([transform])(augmented)
    np.testing.assert_array_equal(applied.apply_image(blob(30, 30)), augmented.image)
    with pytest.raises(NotImplementedError, match=r"of torchvision cannot move points with the im"):
        applied.apply_box(np.array([[1.0, 2, 3, 4]]))


def test_transforms_of_the_user_s_own_stand_in_the_list():
    class Shift(v2.Transform):
        def make_params(self, flat_inputs):
            return {"left": int(torch.randint(1, 9, ()))}

        def transform(self, inpt, params):
            return v2.functional.pad(inpt, [params["left"], 0, 0, 0])

    class Whole(v2.Transform):
        def forward(self, *inputs):
            left = int(torch.randint(1, 9, ()))
            moved = [v2.functional.pad(inpt, [left, 0, 0, 0]) for inpt in inputs]
            return moved if len(moved) > 1 else moved[0]

    for transform in (Shift(), Whole()):
        lefts = set()
        for seed in range(10):
            given, applied, place = drawn(transform, seed)
            left = given.image.shape[1] - W
            lefts.add(left)
            np.testing.assert_allclose(
                applied.apply_coords(np.array([place])), [[place[0] + left, place[1]]]
            )
        assert len(lefts) > 3


@pytest.mark.parametrize("mix", [v2.MixUp(num_classes=3), v2.CutMix(num_classes=3)])
def test_mixers_of_batches_are_refused_with_the_way_out(mix):
    with pytest.raises(TypeError, match=r"mixes batches, .* see d2_data\.mixing"):
        T.AugmentationList([mix])


def test_policies_print_their_settings_and_go_to_other_processes():
    augmentations = T.AugmentationList([v2.Compose([v2.CenterCrop((9, 9))])])
    assert "CenterCrop(size=(9, 9))" in repr(augmentations)
    copied = pickle.loads(pickle.dumps(augmentations))
    given = T.AugInput(blob(30, 30))
    copied(given)
    assert given.image.shape == (9, 9, 3)


def test_mapper_moves_masks_and_keypoints_with_the_image(tmp_path):
    image = blob(40, 30)
    Image.fromarray(image).save(tmp_path / "a.png")
    annotation = {
        "bbox": [37, 27, 44, 34],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "segmentation": [[37, 27, 44, 27, 44, 34, 37, 34]],
        "keypoints": [38.0, 30, 2, 43.0, 30, 1],
    }
    record = {"file_name": str(tmp_path / "a.png"), "annotations": [annotation]}
    chain = v2.Compose(
        [v2.RandomHorizontalFlip(1.0), v2.RandomCrop((50, 76)), v2.Resize((100, 152))]
    )
    mapper = DatasetMapper(
        True,
        augmentations=[chain],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        use_keypoint=True,
        keypoint_hflip_indices=[1, 0],
    )
    for seed in range(6):
        np.random.seed(seed)
        mapped = mapper(record)
        instances = mapped["instances"]
        bright = mapped["image"][0].numpy() > 100
        mask = instances.gt_masks.tensor[0].numpy()
        assert (bright & mask).sum() > 0.9 * bright.sum()
        assert instances.gt_boxes.tensor[0, 2:].sub(instances.gt_boxes.tensor[0, :2]).tolist() == [
            14,
            14,
        ]
        first, second = instances.gt_keypoints.tensor[0].tolist()
        assert (first[2], second[2]) == (1, 2)
        assert second[0] - first[0] == 10
