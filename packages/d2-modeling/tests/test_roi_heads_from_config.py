"""ROI heads and box heads as configs describe them."""

from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.roi_heads import (
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    FastRCNNConvFCHead,
    StandardROIHeads,
    build_box_head,
    build_roi_heads,
)

POOLED = ShapeSpec(channels=4, height=2, width=2)


@pytest.mark.parametrize("dims", [([], [6, 5]), ([3], []), ([3, 7], [6])])
def test_a_box_head_is_its_convolutions_and_linear_layers(dims: Any) -> None:
    torch.manual_seed(0)
    conv_dims, fc_dims = dims
    module = FastRCNNConvFCHead(POOLED, conv_dims=conv_dims, fc_dims=fc_dims)
    x = torch.randn(3, 4, 2, 2)
    wanted = x
    for number in range(1, len(conv_dims) + 1):
        layer = module.get_submodule(f"conv{number}")
        wanted = nn.functional.conv2d(wanted, layer.weight, layer.bias, padding=1).relu()
    for number in range(1, len(fc_dims) + 1):
        layer = module.get_submodule(f"fc{number}")
        wanted = nn.functional.linear(wanted.flatten(1), layer.weight, layer.bias).relu()
        assert not layer.bias.any()
    torch.testing.assert_close(module(x), wanted)
    shape = module.output_shape
    assert wanted.shape[1:] == tuple(
        size for size in (shape.channels, shape.height, shape.width) if size is not None
    )
    assert module(x[:0]).shape == (0, *wanted.shape[1:])


def config(**options: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2"]
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 1, 6
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM, cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = 5, [5]
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    return cfg


SHAPES = {"p2": ShapeSpec(channels=4, stride=4), "p3": ShapeSpec(channels=4, stride=8)}


def test_a_config_sets_every_option_of_the_heads() -> None:
    options = {
        "MODEL.MASK_ON": True,
        "MODEL.KEYPOINT_ON": True,
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3"],
        "MODEL.ROI_HEADS.NUM_CLASSES": 7,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 33,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.125,
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.4, 0.6],
        "MODEL.ROI_HEADS.IOU_LABELS": [0, -1, 1],
        "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": False,
        "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": True,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 5,
        "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIPool",
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 6,
    }
    heads: Any = build_roi_heads(config(**options), SHAPES)
    assert type(heads) is StandardROIHeads
    assert (heads.num_classes, heads.batch_size_per_image) == (7, 33)
    assert (heads.positive_fraction, heads.proposal_append_gt) == (0.125, False)
    assert heads.proposal_matcher.thresholds == [0.4, 0.6]
    assert heads.proposal_matcher.labels == [0, -1, 1]
    assert not heads.proposal_matcher.allow_low_quality_matches
    assert heads.train_on_pred_boxes
    assert heads.box_pooler.output_size == (5, 5)
    assert heads.box_pooler.scales == heads.mask_pooler.scales == (1 / 4, 1 / 8)
    assert (heads.box_pooler.sampling_ratio, heads.box_pooler.pooler_type) == (2, "ROIPool")
    assert heads.mask_pooler.output_size == (6, 6)
    assert heads.box_head.fc1.in_features == 4 * 5 * 5
    assert heads.mask_on
    assert heads.keypoint_on


def test_names_and_maps_that_do_not_exist_are_refused() -> None:
    with pytest.raises(KeyError, match="NoHeads"):
        build_roi_heads(config(**{"MODEL.ROI_HEADS.NAME": "NoHeads"}), SHAPES)
    with pytest.raises(KeyError, match="NoBoxHead"):
        build_box_head(config(**{"MODEL.ROI_BOX_HEAD.NAME": "NoBoxHead"}), POOLED)
    with pytest.raises(
        ValueError, match=r"MODEL\.ROI_HEADS\.IN_FEATURES is \['p9'\], but the back"
    ):
        build_roi_heads(config(**{"MODEL.ROI_HEADS.IN_FEATURES": ["p9"]}), SHAPES)
    mixed = {**SHAPES, "p3": ShapeSpec(channels=8, stride=8)}
    with pytest.raises(ValueError, match=r"\['p2', 'p3'\] wants feature maps of one known width"):
        build_roi_heads(config(**{"MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3"]}), mixed)


def test_registered_heads_are_called_with_the_config_and_shapes() -> None:
    @ROI_HEADS_REGISTRY.register()
    def roi_heads_of_mine(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> Any:
        return cfg.MODEL.ROI_HEADS.NUM_CLASSES, set(input_shape)

    @ROI_BOX_HEAD_REGISTRY.register()
    def box_head_of_mine(cfg: CfgNode, input_shape: ShapeSpec) -> Any:
        return input_shape.channels

    cfg = config(
        **{
            "MODEL.ROI_HEADS.NAME": "roi_heads_of_mine",
            "MODEL.ROI_BOX_HEAD.NAME": "box_head_of_mine",
        }
    )
    assert build_roi_heads(cfg, SHAPES) == (80, {"p2", "p3"})
    assert build_box_head(cfg, POOLED) == 4
