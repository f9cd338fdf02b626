"""The keypoint head and the choice of its regions."""

from typing import Any

import pytest
import torch

from d2_modeling.events import EventStorage
from d2_modeling.layers import ShapeSpec
from d2_modeling.roi_heads import (
    KRCNNConvDeconvUpsampleHead,
    keypoint_rcnn_loss,
    select_proposals_with_visible_keypoints,
)
from d2_structures import Boxes, Instances

SHAPE = ShapeSpec(channels=4, height=7, width=7)


class TwoKeypoints:
    """Stands for ``Keypoints``: a tensor and its rasterisation at given positions."""

    def __init__(self, tensor: torch.Tensor, targets: torch.Tensor | None = None) -> None:
        self.tensor = tensor
        self.targets = torch.zeros(tensor.shape[:2]).long() if targets is None else targets

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, item: Any) -> "TwoKeypoints":
        return TwoKeypoints(self.tensor[item], self.targets[item])

    def to_heatmap(self, boxes: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.targets, self.tensor[:, :, 2] > 0


def region(visible: list[list[float]]) -> Instances:
    points = torch.tensor([[[5.0, 5.0, v] for v in row] for row in visible]).reshape(-1, 2, 3)
    return Instances(
        (20, 20),
        proposal_boxes=Boxes(torch.tensor([[0.0, 0, 10, 10]]).repeat(len(points), 1)),
        gt_keypoints=TwoKeypoints(points, torch.arange(2 * len(points)).reshape(-1, 2)),
    )


@pytest.mark.parametrize("normalizer", [None, 5.0])
def test_the_loss_is_the_cross_entropy_of_visible_keypoints(normalizer: float | None) -> None:
    logits = torch.randn(2, 2, 3, 3)
    image = region([[1.0, 0.0], [2.0, 2.0]])
    log_probabilities = logits.flatten(2).log_softmax(-1)
    total = -(log_probabilities[0, 0, 0] + log_probabilities[1, 0, 2] + log_probabilities[1, 1, 3])
    loss = keypoint_rcnn_loss(logits, [image], normalizer)
    torch.testing.assert_close(loss, total / (normalizer or 3))


def test_without_visible_keypoints_the_loss_is_zero_and_counted() -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    with EventStorage() as storage:
        loss = keypoint_rcnn_loss(logits, [region([[0.0, 0.0]])], None)
        empty = keypoint_rcnn_loss(logits[:0], [region([])], None)
    loss.backward()
    assert loss == empty == 0
    assert storage.latest()["kpts_num_skipped_batches"][0] == 2


def test_regions_without_a_visible_keypoint_inside_are_left_out() -> None:
    image = region([[1.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
    image.gt_keypoints.tensor[2, :, 0] = 15.0
    with EventStorage() as storage:
        (chosen, nothing) = select_proposals_with_visible_keypoints([image, region([])])
    assert chosen.gt_keypoints.tensor[:, 0, 2].tolist() == [1.0]
    assert len(nothing) == 0
    assert storage.latest()["keypoint_head/num_fg_samples"][0] == 0.5


def test_annotations_without_keypoints_are_an_error_that_names_the_setting() -> None:
    image = region([[2.0, 0.0]])
    image.remove("gt_keypoints")
    with pytest.raises(ValueError, match=r"image give no keypoints.*MODEL\.KEYPOINT_ON"):
        select_proposals_with_visible_keypoints([image])


def test_the_head_quadruples_the_size() -> None:
    head = KRCNNConvDeconvUpsampleHead(SHAPE, num_keypoints=2, conv_dims=[8, 8])
    assert head.layers(torch.randn(3, 4, 7, 7)).shape == (3, 2, 28, 28)
    assert {n.split(".")[0] for n in head.state_dict()} == {
        "conv_fcn1",
        "conv_fcn2",
        "score_lowres",
    }


def test_the_normalizer_counts_images_or_visible_keypoints() -> None:
    x, images = torch.randn(1, 4, 7, 7), [region([[1.0, 1.0]]), region([])]
    fixed = KRCNNConvDeconvUpsampleHead(
        SHAPE, num_keypoints=2, conv_dims=[], loss_normalizer=3.0, loss_weight=2.0
    )
    visible = KRCNNConvDeconvUpsampleHead(
        SHAPE, num_keypoints=2, conv_dims=[], loss_normalizer="visible"
    )
    visible.load_state_dict(fixed.state_dict())
    expected = visible.train()(x, images)["loss_keypoint"] * 2 * 2 / (3 * 2)
    torch.testing.assert_close(fixed.train()(x, images)["loss_keypoint"], expected)
    with pytest.raises(ValueError, match="'visible'"):
        KRCNNConvDeconvUpsampleHead(SHAPE, num_keypoints=2, conv_dims=[], loss_normalizer="all")
