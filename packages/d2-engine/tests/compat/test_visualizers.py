"""Drawing by what subclasses of detectron2's visualizers overwrite and inherit."""

from typing import Any

import numpy as np
import pytest
import torch

from d2_data import Metadata
from d2_engine.compat.shims import colors
from d2_engine.compat.shims.pictures import (
    GenericMask,
    _create_text_labels,
    _DetectedInstance,
    _PanopticPrediction,
)
from d2_engine.compat.shims.visualizers import VideoVisualizer, Visualizer
from d2_structures import Boxes, Instances

IMAGE = np.full((60, 90, 3), 120, np.uint8)


def instances() -> Instances:
    masks = torch.zeros(2, 60, 90, dtype=torch.bool)
    masks[0, 10:30, 10:40] = True
    masks[1, 30:50, 50:80] = True
    return Instances(
        (60, 90),
        pred_boxes=Boxes(torch.tensor([[10.0, 10, 40, 30], [50, 30, 80, 50]])),
        pred_classes=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.5]),
        pred_masks=masks,
    )


@pytest.mark.parametrize(
    ("method", "count"), [("draw_box", 2), ("draw_text", 2), ("draw_polygon", 2)]
)
def test_overwritten_primitives_draw_each_instance(method: str, count: int):
    called: list[Any] = []

    def noting(self: Visualizer, *args: Any, **kwargs: Any) -> Any:
        called.append(args)
        return getattr(super(subclass, self), method)(*args, **kwargs)

    subclass: Any = type("Mine", (Visualizer,), {method: noting})
    visualizer = subclass(IMAGE, Metadata(thing_classes=["cat", "dog"]))
    picture = visualizer.draw_instance_predictions(instances()).get_image()
    assert len(called) == count
    assert (picture != IMAGE).any()
    if method == "draw_text":
        assert [args[0] for args in called] == ["cat 90%", "dog 50%"]


def test_without_overwritten_primitives_the_picture_is_that_of_d2():
    from d2_structures.visualizer import Visualizer as Plain

    ours = Visualizer(IMAGE).draw_instance_predictions(instances()).get_image()
    assert (ours == Plain(IMAGE).draw_instance_predictions(instances()).get_image()).all()


def test_subclasses_inherit_what_they_use():
    visualizer = Visualizer(IMAGE)
    assert visualizer.metadata.get("thing_classes", None) is None
    assert visualizer.cpu_device == torch.device("cpu")
    assert visualizer._default_font_size == 10
    mask = np.zeros((60, 90), bool)
    mask[:5] = True
    image = IMAGE.copy()
    image[..., 0] = 30
    grey = Visualizer(image)._create_grayscale_image(mask)
    assert (grey[:5] == image[:5]).all()
    assert (grey[5:] == 90).all()
    assert visualizer._change_color_brightness((1.0, 0.0, 0.5), -0.5) == (0.5, 0.0, 0.25)


def test_objects_of_a_video_keep_their_colours():
    video = VideoVisualizer(Metadata())

    def detected(*boxes: list[float]) -> list[Any]:
        return [_DetectedInstance(0, np.array(box), None, None, 8) for box in boxes]

    first = video._assign_colors(detected([0, 0, 10, 10], [30, 30, 50, 50]))
    second = video._assign_colors(detected([31, 30, 51, 50], [1, 0, 11, 10]))
    assert all((a == b).all() for a, b in zip(first, second[::-1], strict=True))
    tracked = Instances((60, 90), ID=[4, 9])
    before = video._assign_colors_by_id(tracked)
    after = video._assign_colors_by_id(Instances((60, 90), ID=[9]))
    assert (after[0] == before[1]).all()


def test_labels_name_class_score_and_crowd():
    assert _create_text_labels([0, 5], [0.91, 0.2], ["cat"], [False, True]) == [
        "cat 91%",
        "5 20%|crowd",
    ]
    assert _create_text_labels(None, None, None) is None


def test_a_mask_is_known_in_every_form():
    square = [2.0, 3, 8, 3, 8, 9, 2, 9]
    polygon = GenericMask([square], 12, 16)
    assert polygon.area() == 36
    assert polygon.bbox().tolist() == [2, 3, 8, 9]
    array = GenericMask(polygon.mask, 12, 16)
    assert GenericMask(array.polygons, 12, 16).area() == 36
    assert not array.has_holes
    with pytest.raises(ValueError, match="shape"):
        GenericMask(np.zeros((3, 3)), 12, 16)


def test_a_panoptic_map_is_taken_apart():
    panoptic = torch.zeros(4, 4, dtype=torch.int64)
    panoptic[:2] = 1
    panoptic[3] = 2
    described = [
        {"id": 1, "isthing": False, "category_id": 5},
        {"id": 2, "isthing": True, "category_id": 6},
    ]
    found = _PanopticPrediction(panoptic, described)
    assert found.non_empty_mask().sum() == 12
    assert [s["category_id"] for _, s in found.semantic_masks()] == [5]
    assert [int(mask.sum()) for mask, _ in found.instance_masks()] == [4]


def test_colours_are_rgb_or_bgr_of_either_range():
    rgb = colors.colormap(rgb=True)
    assert rgb.dtype == np.float32
    assert rgb.max() > 1
    assert (colors.colormap()[:, ::-1] == rgb).all()
    assert colors.colormap(maximum=1).max() <= 1
    assert len({tuple(color) for color in colors.random_colors(10)}) == 10
    assert colors.random_color(rgb=True, maximum=1).shape == (3,)
    with pytest.raises(ValueError, match="maximum"):
        colors.colormap(maximum=2)
