"""Pictures of predictions beside the ground truth, which models make while they train."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from d2_modeling.events import EventStorage
from d2_modeling.meta_arch.box_pictures import put_box_picture
from d2_structures import Boxes, Instances

pytest.importorskip("matplotlib", reason="pictures are drawn by Matplotlib, an extra")

SIZE = (48, 64)
NONE = torch.zeros(0, 4)


def entry(boxes: Tensor = NONE, image: Tensor | None = None) -> dict[str, Any]:
    if image is None:
        image = torch.zeros(3, *SIZE, dtype=torch.uint8)
        image[0] = 200
    return {"image": image, "instances": Instances(SIZE, gt_boxes=Boxes(boxes))}


def picture_of(inputs: dict[str, Any], boxes: Tensor, input_format: str = "RGB") -> Any:
    with EventStorage() as storage:
        put_box_picture(inputs, boxes, input_format, "some boxes")
    ((name, picture, _),) = storage.images
    assert name == "some boxes"
    return torch.as_tensor(picture)


def test_without_boxes_both_halves_are_the_image() -> None:
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    picture = picture_of(entry(image=image), NONE)
    assert picture.dtype == torch.uint8
    assert torch.equal(picture[:, :, :64], image)
    assert torch.equal(picture[:, :, 64:], image)


def test_the_channels_of_bgr_images_are_turned_round() -> None:
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    picture = picture_of(entry(image=image), NONE, "BGR")
    assert torch.equal(picture[:, :, :64], image.flip(0))


def test_pixels_that_no_picture_has_are_cut_off() -> None:
    image = torch.full((3, *SIZE), 300.0)
    image[1] = -5.0
    image[2] = 7.0
    picture = picture_of(entry(image=image), NONE)
    assert picture[:, 0, 0].tolist() == [255, 0, 7]


def changed(picture: Tensor, right: bool) -> Tensor:
    """Which pixels of a half are no longer the image's."""
    half = picture[:, :, 64:] if right else picture[:, :, :64]
    return (half != torch.tensor([200, 0, 0])[:, None, None]).any(dim=0)


def test_the_ground_truth_is_on_the_left_and_predictions_on_the_right() -> None:
    small, large = torch.tensor([[5.0, 5, 20, 20]]), torch.tensor([[30.0, 10, 60, 40]])
    picture = picture_of(entry(small), large)
    left, right = changed(picture, right=False), changed(picture, right=True)
    assert left[:24, :24].any()
    assert not left[:, 25:].any()
    assert right[:, 26:].any()
    assert not right[:, :25].any()


def test_only_the_first_twenty_predictions_are_drawn() -> None:
    first = torch.tensor([[2.0, 2, 20, 20]]).expand(20, 4)
    rest = torch.tensor([[30.0, 25, 60, 45]]).expand(5, 4)
    picture = picture_of(entry(), torch.cat([first, rest]))
    assert changed(picture, right=True)[:24, :24].any()
    assert not changed(picture, right=True)[:, 26:].any()
    picture = picture_of(entry(), torch.cat([first[:19], rest]))
    assert changed(picture, right=True)[:, 26:].any()


def test_predictions_that_are_being_trained_are_drawn_and_left_alone() -> None:
    boxes = torch.tensor([[30.0, 10, 60, 40]], requires_grad=True)
    inputs = entry(torch.tensor([[5.0, 5, 20, 20]]))
    before = inputs["image"].clone()
    picture_of(inputs, boxes, "BGR")
    assert boxes.grad is None
    assert torch.equal(inputs["image"], before)


def test_pictures_need_a_storage() -> None:
    with pytest.raises(AssertionError, match="inside a `with EventStorage"):
        put_box_picture(entry(), NONE, "RGB", "some boxes")


@pytest.mark.parametrize(("period", "iterations"), [(0, []), (1, [0, 1, 2, 3]), (3, [0, 3])])
def test_retinanet_makes_pictures_every_so_many_iterations(
    build_dense: Callable[..., Any], period: int, iterations: list[int]
) -> None:
    model = build_dense("retinanet", vis_period=period, input_format="RGB").train()
    inputs = entry(torch.tensor([[5.0, 5, 20, 20]])) | {"image": torch.rand(3, *SIZE)}
    inputs["instances"].gt_classes = torch.tensor([1])
    model([inputs])  # without a storage there is nowhere to put it
    made = []
    with EventStorage() as storage:
        for _ in range(4):
            model([inputs])
            made += [storage.iter] * len(storage.images)
            storage.clear_images()
            storage.step()
    assert made == iterations


def test_retinanet_shows_detections_as_they_come_out(build_dense: Callable[..., Any]) -> None:
    """The network's results are drawn after they have been clipped to the image."""
    model = build_dense("retinanet", input_format="RGB")
    found = Instances(
        SIZE,
        pred_boxes=Boxes(torch.tensor([[30.0, 10, 500, 400], [70.0, 0, 90, 10]])),
        scores=torch.tensor([0.9, 0.8]),
    )
    with EventStorage() as storage:
        model.visualize_training([entry(torch.tensor([[5.0, 5, 20, 20]]))], [found])
    ((name, picture, _),) = storage.images
    assert name == "Left: GT bounding boxes;  Right: Predicted results"
    assert changed(torch.as_tensor(picture), right=True)[:, 26:].any()
    assert found.pred_boxes.tensor[0].tolist() == [30.0, 10, 500, 400]
