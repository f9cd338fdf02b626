"""Every kind of model meets input that is wrong, or at the edge of what makes sense."""

import pathlib
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from d2_structures import Boxes, Instances, Keypoints, PolygonMasks

sys.path.insert(0, str(pathlib.Path(__file__).parent / "export"))
from tiny_models import MODELS, build  # of that folder

SIZE = (64, 80)
DETECTORS = [
    "Cascade Mask R-CNN",
    "FCOS",
    "Faster R-CNN",
    "Keypoint R-CNN",
    "Mask R-CNN",
    "PanopticFPN",
    "RetinaNet",
]
"""Those of boxes along the axes: what `ground_truth` gives."""


def picture(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 255, shape or (3, *SIZE), generator=generator, dtype=torch.uint8)


def ground_truth(*boxes: tuple[float, ...], label: int = 0) -> Instances:
    count = len(boxes)
    triangles = [[[4.0, 4, 40, 4, 40, 44]]] * count
    return Instances(
        SIZE,
        gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        gt_classes=torch.full((count,), label),
        gt_masks=PolygonMasks(triangles),
        gt_keypoints=Keypoints(torch.tensor([10.0, 10, 2]).expand(count, 5, 3).clone()),
    )


def entry(image: Any = None, truth: Instances | None = None) -> dict[str, Any]:
    return {
        "image": picture() if image is None else image,
        "instances": ground_truth((4, 4, 40, 44)) if truth is None else truth,
        "sem_seg": torch.zeros(SIZE, dtype=torch.int64),
    }


def run(name: str, inputs: list[dict[str, Any]], *, training: bool) -> Any:
    model = build(name).train(training)
    with torch.set_grad_enabled(training):
        return model(inputs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_empty_batch_is_named_as_such(name: str, training: bool) -> None:
    with pytest.raises(ValueError, match="batch is empty: a model wants at least one image"):
        run(name, [], training=training)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_image_of_wrong_shape_or_type_is_named_with_its_place(name: str) -> None:
    good = entry()
    for image, message in (
        (picture(*SIZE), r"input 1 wants a tensor image of shape \(3, H, W\), got \(64, 80\)"),
        (picture(4, *SIZE), r"got \(4, 64, 80\)"),
        (picture(1, 3, *SIZE), r"got \(1, 3, 64, 80\)"),
        (picture().numpy(), "got ndarray"),
        (picture() > 9, "image of real numbers, got torch.bool"),
        (torch.zeros(3, 0, 80), r"input 1 has an image without pixels, of shape \(3, 0, 80\)"),
    ):
        with pytest.raises(ValueError, match=message):
            run(name, [good, entry(image)], training=False)


@pytest.mark.parametrize("name", DETECTORS)
def test_ground_truth_outside_the_image_gives_finite_losses(name: str) -> None:
    outside = ground_truth((200, 200, 300, 320), (-50, -60, -5, -9), (-20, -30, 200, 300))
    losses = run(name, [entry(truth=outside), entry()], training=True)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()


@pytest.mark.parametrize("name", DETECTORS)
def test_images_without_ground_truth_train_like_any_other(name: str) -> None:
    losses = run(name, [entry(truth=ground_truth()), entry(truth=ground_truth())], training=True)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()


@pytest.mark.parametrize("label", [3, -1])
@pytest.mark.parametrize("name", DETECTORS)
def test_a_class_that_the_model_does_not_know_is_named(name: str, label: int) -> None:
    unknown = ground_truth((4, 4, 40, 44), label=label)
    with pytest.raises(ValueError, match=f"image 1 of the batch has ground truth of class {label}"):
        run(name, [entry(), entry(truth=unknown)], training=True)


@pytest.mark.parametrize("name", DETECTORS)
def test_some_images_without_ground_truth_field_are_named(name: str) -> None:
    without = {"image": picture(), "sem_seg": torch.zeros(SIZE, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"inputs \[1\] have no 'instances'"):
        run(name, [entry(), without], training=True)


@pytest.mark.parametrize("name", DETECTORS)
def test_pixels_that_are_no_numbers_give_no_detection(name: str) -> None:
    broken = torch.full((3, *SIZE), torch.nan)
    (output,) = run(name, [entry(broken)], training=False)
    assert len(output["instances"]) == 0


@pytest.mark.parametrize("name", DETECTORS)
def test_pixels_that_are_no_numbers_do_not_train_in_silence(name: str) -> None:
    """Losses that are not finite are for the trainer to stop at, see its tests."""
    broken = torch.full((3, *SIZE), torch.nan)
    if name in ("RetinaNet", "FCOS"):
        losses = run(name, [entry(broken)], training=True)
        assert not all(loss.isfinite() for loss in losses.values())
        return
    with pytest.raises(FloatingPointError, match="infinite or NaN"):
        run(name, [entry(broken)], training=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 80), (64, 1), (33, 17)])
@pytest.mark.parametrize("name", ["FCOS", "RetinaNet", "Mask R-CNN"])
def test_images_of_any_size_are_padded_to_what_the_backbone_takes(
    name: str, size: tuple[int, int]
) -> None:
    (output,) = run(name, [{"image": picture(3, *size)}], training=False)
    found = output["instances"]
    assert found.image_size == size
    x1, y1, x2, y2 = found.pred_boxes.tensor.unbind(1)
    assert (x1 >= 0).all()
    assert (y1 >= 0).all()
    assert (x2 <= size[1]).all()
    assert (y2 <= size[0]).all()


@pytest.mark.parametrize("name", ["FCOS", "RetinaNet", "Mask R-CNN", "Keypoint R-CNN"])
def test_images_of_one_size_are_detected_together_as_alone(name: str) -> None:
    first, second = picture(), picture().flip(2)
    together = run(name, [{"image": first}, {"image": second}], training=False)
    for image, output in zip((first, second), together, strict=True):
        (alone,) = run(name, [{"image": image}], training=False)
        assert len(alone["instances"]) > 0
        torch.testing.assert_close(output["instances"].scores, alone["instances"].scores)
        torch.testing.assert_close(
            output["instances"].pred_boxes.tensor,
            alone["instances"].pred_boxes.tensor,
            rtol=1e-4,
            atol=1e-3,
        )
