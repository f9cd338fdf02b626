"""Branches of region heads: what the heads get, and what has to come back."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.batched_selection import Detections
from d2_modeling.poolers import ROIPooler
from d2_modeling.roi_heads import BaseKeypointRCNNHead, BaseMaskRCNNHead, RegionBranch, RegionHead
from d2_modeling.roi_heads.region_head import as_instances, as_losses
from d2_modeling.roi_heads.region_pooling import branch_from_config
from d2_structures import Boxes, Instances

FEATURES = {
    "p2": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
    "p3": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
    "p4": torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2)),
}
BOXES = [
    Boxes(torch.tensor([[0.0, 0, 12, 20], [8, 8, 60, 60]])),
    Boxes(torch.tensor([[4.0, 4, 30, 30]])),
]


def pooler() -> ROIPooler:
    return ROIPooler(2, [1 / 4, 1 / 8], 0, "ROIAlignV2", canonical_box_size=32, canonical_level=3)


def detections(boxes: list[Boxes] = BOXES) -> Detections:
    rows = torch.cat([each.tensor for each in boxes])
    index = torch.cat([torch.full((len(each),), i) for i, each in enumerate(boxes)])
    count = len(rows)
    return Detections(rows, torch.ones(count), torch.arange(count) % 2, index, torch.arange(count))


class MeanHead(RegionHead):
    """Adds the mean of each region's features."""

    def losses(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor]:
        return {"loss_mean": x.mean()}

    def inference(self, x: Tensor, instances: list[Instances]) -> list[Instances]:
        counts = [len(image) for image in instances]
        for image, means in zip(instances, x.mean(dim=(1, 2, 3)).split(counts), strict=True):
            image.means = means
        return instances


def test_a_head_gets_the_pooled_regions_of_its_own_maps() -> None:
    branch = RegionBranch(["p2", "p3"], pooler(), nn.Identity())
    wanted = pooler()([FEATURES["p2"], FEATURES["p3"]], BOXES)
    torch.testing.assert_close(branch.of_boxes(FEATURES, BOXES), wanted)
    torch.testing.assert_close(branch.of_rows(FEATURES, detections().rois()), wanted)


def test_without_a_pooler_a_head_gets_the_maps_by_name() -> None:
    branch = RegionBranch(["p3", "p4"], None, nn.Identity())
    for given in (branch.of_boxes(FEATURES, BOXES), branch.of_rows(FEATURES, detections().rois())):
        assert isinstance(given, dict)
        assert set(given) == {"p3", "p4"}
        assert given["p4"] is FEATURES["p4"]


def test_no_boxes_give_no_rows() -> None:
    branch = RegionBranch(["p2", "p3"], pooler(), nn.Identity())
    none = [Boxes(torch.zeros(0, 4))] * 2
    pooled = branch.of_boxes(FEATURES, none)
    assert isinstance(pooled, Tensor)
    assert pooled.shape == (0, 3, 2, 2)


def test_a_head_without_tensors_is_named_with_the_remedy() -> None:
    branch = RegionBranch(["p2", "p3"], pooler(), MeanHead())
    with pytest.raises(TypeError, match=r"MeanHead has no predict_tensors\(x, detections\)"):
        branch.predict_tensors(FEATURES, detections())


def test_forward_gives_losses_in_training_and_instances_otherwise() -> None:
    head = MeanHead()
    x = torch.arange(24.0).view(3, 2, 2, 2)
    images = [Instances((64, 64), pred_boxes=boxes) for boxes in BOXES]
    assert set(head.train()(x, images)) == {"loss_mean"}
    found = head.eval()(x, images)
    assert torch.cat([image.means for image in found]).tolist() == [3.5, 11.5, 19.5]


class OneMask(BaseMaskRCNNHead):
    def layers(self, x: Tensor) -> Tensor:
        return x[:, :2]


class OneKeypoint(BaseKeypointRCNNHead):
    def layers(self, x: Tensor) -> Tensor:
        return x[:, :2]


@pytest.mark.parametrize("kind", ["mask", "keypoint"])
def test_tensors_are_what_inference_puts_into_instances(kind: str) -> None:
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    found = detections()
    head: Any = OneMask() if kind == "mask" else OneKeypoint(num_keypoints=2)
    images = [Instances((64, 64), pred_boxes=boxes) for boxes in BOXES]
    for image, classes in zip(images, found.classes.split([2, 1]), strict=True):
        image.pred_classes = classes
    head.eval().inference(x, images)
    field = "pred_masks" if kind == "mask" else "pred_keypoints"
    together = torch.cat([image.get(field) for image in images])
    torch.testing.assert_close(head.predict_tensors(x, found), together)


@pytest.mark.parametrize("kind", ["mask", "keypoint"])
def test_no_images_stay_none(kind: str) -> None:
    head: Any = OneMask() if kind == "mask" else OneKeypoint(num_keypoints=2)
    x = torch.zeros(0, 3, 8, 8, requires_grad=True)
    assert head.eval().inference(x, []) == []
    (loss,) = head.train().losses(x, []).values()
    loss.backward()
    assert loss == 0


def test_what_a_method_of_ones_own_returns_is_checked_by_name() -> None:
    losses = {"loss": torch.tensor(1.0)}
    images = [Instances((4, 4))]
    assert as_losses(losses, "mine()") is losses
    assert as_instances(images, "mine()") is images
    with pytest.raises(TypeError, match=r"mine\(\) has to return a dict of losses in training"):
        as_losses(images, "mine()")
    with pytest.raises(TypeError, match=r"a list of Instances in evaluation, got a dict of \['l"):
        as_instances(losses, "mine()")


def head_of_mine(cfg: CfgNode, input_shape: Any) -> nn.Module:
    head = nn.Identity()
    head.shape = input_shape
    return head


SHAPES = {f"p{level}": ShapeSpec(channels=3, stride=2**level) for level in (2, 3, 4)}


@pytest.mark.parametrize("pooler_type", ["", "ROIAlign"])
def test_a_config_builds_a_branch_with_a_pooler_or_without(pooler_type: str) -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3"]
    options = cfg.MODEL.ROI_MASK_HEAD
    options.POOLER_TYPE, options.POOLER_RESOLUTION, options.POOLER_SAMPLING_RATIO = (
        pooler_type,
        5,
        2,
    )
    branch = branch_from_config(cfg, options, SHAPES, head_of_mine)
    assert list(branch.in_features) == ["p2", "p3"]
    if not pooler_type:
        assert branch.pooler is None
        assert branch.head.shape == {name: SHAPES[name] for name in ("p2", "p3")}
        return
    assert branch.pooler is not None
    assert (branch.pooler.output_size, branch.pooler.sampling_ratio) == ((5, 5), 2)
    assert (branch.pooler.scales, branch.pooler.pooler_type) == ((1 / 4, 1 / 8), "ROIAlign")
    assert branch.head.shape == ShapeSpec(channels=3, height=5, width=5)


def test_maps_that_a_config_cannot_have_are_named() -> None:
    cfg = get_cfg()
    options = cfg.MODEL.ROI_MASK_HEAD
    for names, message in (
        (
            ["p2", "p7"],
            r"MODEL\.ROI_HEADS\.IN_FEATURES is \['p2', 'p7'\], but the backbone gives o",
        ),
        ([], r"IN_FEATURES is \[\], but"),
    ):
        cfg.MODEL.ROI_HEADS.IN_FEATURES = names
        for pooler_type in ("", "ROIAlign"):
            options.POOLER_TYPE = pooler_type
            with pytest.raises(ValueError, match=message):
                branch_from_config(cfg, options, SHAPES, head_of_mine)
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3"]
    mixed = {**SHAPES, "p3": ShapeSpec(channels=4, stride=8)}
    with pytest.raises(ValueError, match=r"wants feature maps of one known width, got \[3, 4\] ch"):
        branch_from_config(cfg, options, mixed, head_of_mine)
