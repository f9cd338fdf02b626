"""Every family of detectors trains and predicts on a CUDA device as on the CPU.

Models compute in double precision, where no rounding turns a decision, and sample everything, so
that no random number counts.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec, build_model
from d2_modeling.backbone import LastLevelMaxPool, SimpleFeaturePyramid, ViT
from d2_modeling.meta_arch import FCOS, FCOSHead
from d2_structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks, RotatedBoxes

pytestmark = pytest.mark.gpu

SIZE = (64, 96)
CORNERS = torch.tensor([[4.0, 4, 40, 44], [50, 10, 90, 60], [20, 30, 60, 50]])


def pyramid_cfg(architecture: str = "GeneralizedRCNN") -> CfgNode:
    """A small R-CNN on a feature pyramid that samples all anchors and proposals."""
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = architecture, "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.OUT_CHANNELS = 8
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in (8, 16, 32, 64, 128)]
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    return with_small_heads(cfg)


def with_small_heads(cfg: CfgNode) -> CfgNode:
    model = cfg.MODEL
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.RPN.POST_NMS_TOPK_TRAIN, model.RPN.POST_NMS_TOPK_TEST = 60, 30
    model.ROI_HEADS.NUM_CLASSES, model.ROI_HEADS.SCORE_THRESH_TEST = 3, 0.0
    model.ROI_BOX_HEAD.NAME, model.ROI_BOX_HEAD.POOLER_RESOLUTION = "FastRCNNConvFCHead", 7
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_MASK_HEAD.CONV_DIM = 8
    model.ROI_KEYPOINT_HEAD.CONV_DIMS, model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = [8], 5
    model.SEM_SEG_HEAD.CONVS_DIM, model.SEM_SEG_HEAD.NUM_CLASSES = 8, 5
    model.SEM_SEG_HEAD.NORM = "GN"
    cfg.TEST.DETECTIONS_PER_IMAGE = 10
    for sampled in (model.RPN, model.ROI_HEADS):
        sampled.BATCH_SIZE_PER_IMAGE, sampled.POSITIVE_FRACTION = 10**6, 1.0
    return cfg


def mask_rcnn() -> Any:
    cfg = pyramid_cfg()
    cfg.MODEL.MASK_ON = True
    return build_model(cfg)


def keypoint_rcnn() -> Any:
    cfg = pyramid_cfg()
    cfg.MODEL.KEYPOINT_ON = True
    return build_model(cfg)


def mask_rcnn_c4() -> Any:
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.MASK_ON, cfg.MODEL.BACKBONE.FREEZE_AT = "cpu", True, 0
    return build_model(with_small_heads(cfg))


def cascade_rcnn() -> Any:
    cfg = pyramid_cfg()
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.MASK_ON = "CascadeROIHeads", True
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    return build_model(cfg)


def deformable_rcnn() -> Any:
    cfg = pyramid_cfg()
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, True, True, True]
    cfg.MODEL.RESNETS.DEFORM_MODULATED = True
    return build_model(cfg)


def rotated_rcnn() -> Any:
    cfg = pyramid_cfg()
    model = cfg.MODEL
    model.ANCHOR_GENERATOR.NAME, model.PROPOSAL_GENERATOR.NAME = "RotatedAnchorGenerator", "RRPN"
    model.RPN.BBOX_REG_WEIGHTS = (1, 1, 1, 1, 1)
    model.ROI_HEADS.NAME, model.ROI_BOX_HEAD.POOLER_TYPE = "RROIHeads", "ROIAlignRotated"
    model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10, 10, 5, 5, 1)
    return build_model(cfg)


def vision_transformer_rcnn() -> Any:
    model = mask_rcnn()
    vit = ViT(
        img_size=96,
        patch_size=16,
        embed_dim=16,
        depth=2,
        num_heads=2,
        use_rel_pos=True,
        window_size=3,
        window_block_indexes=(0,),
        pretrain_img_size=32,
    )
    model.backbone = SimpleFeaturePyramid(
        vit,
        in_feature="last_feat",
        out_channels=8,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=LastLevelMaxPool(),
        square_pad=96,
    )
    return model


def dense_cfg() -> CfgNode:
    cfg = pyramid_cfg("RetinaNet")
    model = cfg.MODEL
    model.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    model.RETINANET.NUM_CLASSES, model.RETINANET.NUM_CONVS = 3, 1
    model.RETINANET.SCORE_THRESH_TEST = 0.0
    return cfg


def retinanet() -> Any:
    return build_model(dense_cfg())


def fcos() -> Any:
    model = FCOS(
        backbone=retinanet().backbone,
        head=FCOSHead(
            input_shape=[ShapeSpec(channels=8)] * 5, num_classes=3, conv_dims=[8], norm="GN"
        ),
        head_in_features=["p3", "p4", "p5", "p6", "p7"],
        num_classes=3,
        pixel_mean=[110.0] * 3,
        pixel_std=[60.0] * 3,
        test_score_thresh=0.0,
        max_detections_per_image=10,
    )
    nn.init.constant_(model.head.bbox_pred.bias, 1.0)  # boxes with an area
    return model


def proposal_network() -> Any:
    return build_model(pyramid_cfg("ProposalNetwork"))


def semantic_segmentor() -> Any:
    return build_model(pyramid_cfg("SemanticSegmentor"))


def panoptic_fpn() -> Any:
    cfg = pyramid_cfg("PanopticFPN")
    cfg.MODEL.MASK_ON = True
    return build_model(cfg)


FAMILIES: list[Callable[[], Any]] = [
    mask_rcnn,
    keypoint_rcnn,
    mask_rcnn_c4,
    cascade_rcnn,
    deformable_rcnn,
    rotated_rcnn,
    vision_transformer_rcnn,
    retinanet,
    fcos,
    proposal_network,
    semantic_segmentor,
    panoptic_fpn,
]


def truth(*, rotated: bool, bitmaps: bool) -> Instances:
    low, high = CORNERS[:, :2], CORNERS[:, 2:]
    turned = torch.cat([(low + high) / 2, high - low, torch.tensor([[30.0], [-40], [75]])], 1)
    points = torch.cat(
        [low[:, None] + (high - low)[:, None] * t for t in (0.2, 0.4, 0.5, 0.7, 0.9)], 1
    )
    polygons = PolygonMasks(
        [
            [np.array([x1, y1, x2, y1, x2, y2, x1, (y1 + y2) / 2])]
            for x1, y1, x2, y2 in CORNERS.tolist()
        ]
    )
    return Instances(
        SIZE,
        gt_boxes=RotatedBoxes(turned) if rotated else Boxes(CORNERS),
        gt_classes=torch.tensor([0, 2, 1]),
        gt_masks=BitMasks.from_polygon_masks(polygons, *SIZE) if bitmaps else polygons,
        gt_keypoints=Keypoints(torch.cat([points, torch.full((3, 5, 1), 2.0)], 2)),
    )


def inputs(*, rotated: bool = False, bitmaps: bool = False) -> list[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    gt = truth(rotated=rotated, bitmaps=bitmaps)
    return [
        {
            "image": torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=random),
            "sem_seg": torch.randint(0, 5, SIZE, generator=random),
            "instances": objects,
            "height": 80,
            "width": 120,
        }
        for objects in (gt, gt[torch.tensor([1])])
    ]


def pair(build: Callable[[], Any], device: torch.device) -> tuple[Any, Any]:
    """The same model on the CPU and on the device."""
    torch.manual_seed(0)
    here = build().double()
    for module in here.modules():
        if isinstance(module, nn.Linear):  # scores that differ
            nn.init.normal_(module.weight, std=0.2)
    return here, copy.deepcopy(here).to(device)


def losses_and_gradients(
    model: nn.Module, batch: list[dict[str, Any]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    losses = model.train()(batch)
    torch.stack([loss.double() for loss in losses.values()]).sum().backward()
    gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.detach().cpu() for name, loss in losses.items()}, gradients


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in ours.items():
        scale = float(theirs[name].abs().max()) + 1e-6 * largest
        difference = float((gradient - theirs[name]).abs().max())
        assert difference <= 1e-3 * scale, f"{name}: {difference} of {scale}"


@pytest.mark.parametrize("build", FAMILIES)
def test_losses_and_gradients_are_those_of_the_cpu(
    build: Callable[[], Any], device: torch.device
) -> None:
    here, there = pair(build, device)
    batch = inputs(rotated=build is rotated_rcnn)
    wanted, gradients = losses_and_gradients(here, batch)
    got, gradients_there = losses_and_gradients(there, batch)
    assert got.keys() == wanted.keys()
    for name, loss in got.items():
        torch.testing.assert_close(loss, wanted[name], rtol=1e-4, atol=1e-6, msg=name)
    assert sum(wanted.values()) > 0
    assert_same_gradients(gradients_there, gradients)


def test_bitmaps_give_the_mask_loss_of_the_cpu(device: torch.device) -> None:
    here, there = pair(mask_rcnn, device)
    batch = inputs(bitmaps=True)
    (wanted, gradients), (got, gradients_there) = (
        losses_and_gradients(model, batch) for model in (here, there)
    )
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert_same_gradients(gradients_there, gradients)


@pytest.mark.parametrize("build", FAMILIES)
def test_predictions_are_those_of_the_cpu(build: Callable[[], Any], device: torch.device) -> None:
    here, there = pair(build, device)
    batch = inputs(rotated=build is rotated_rcnn)
    with torch.no_grad():
        wanted, got = here.eval()(batch), there.eval()(batch)
    for output, expected in zip(got, wanted, strict=True):
        assert output.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, Instances):
                assert_same_instances(output[name], value, device)
            elif isinstance(value, Tensor):
                torch.testing.assert_close(output[name].cpu(), value, rtol=1e-3, atol=1e-4)
            else:
                assert_same_segments(output[name], value)


def assert_same_instances(got: Instances, wanted: Instances, device: torch.device) -> None:
    assert len(wanted) > 0
    assert got.get_fields().keys() == wanted.get_fields().keys()
    for name, value in wanted.get_fields().items():
        ours = got.get(name)
        assert ours.device.type == device.type
        ours, theirs = (v if isinstance(v, Tensor) else v.tensor for v in (ours, value))
        if theirs.dtype == torch.bool:
            assert float((ours.cpu() != theirs).double().mean()) < 1e-4
        else:
            torch.testing.assert_close(
                ours.cpu(), theirs, rtol=1e-4, atol=1e-3, msg=lambda m, name=name: f"{name}: {m}"
            )


def assert_same_segments(got: tuple[Tensor, Any], wanted: tuple[Tensor, Any]) -> None:
    assert float((got[0].cpu() != wanted[0]).double().mean()) < 1e-3
    assert [s["category_id"] for s in got[1]] == [s["category_id"] for s in wanted[1]]


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("build", FAMILIES)
def test_mixed_precision_gives_finite_losses_and_gradients(
    build: Callable[[], Any], precision: torch.dtype, device: torch.device
) -> None:
    torch.manual_seed(0)
    model = build().to(device).train()
    with torch.autocast(device.type, precision):
        losses = model(inputs(rotated=build is rotated_rcnn))
    torch.stack([loss.float() for loss in losses.values()]).sum().backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
