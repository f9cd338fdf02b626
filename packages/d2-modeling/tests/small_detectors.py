"""A small model of every architecture, and batches for them."""

from typing import Any

import numpy as np
import torch

from d2_config import get_cfg
from d2_modeling import build_model
from d2_modeling.backbone import build_backbone
from d2_modeling.meta_arch import FCOS, FCOSHead
from d2_modeling.panoptic_deeplab import (
    PanopticDeepLab,
    PanopticDeepLabInsEmbedHead,
    PanopticDeepLabSemSegHead,
)
from d2_modeling.point_rend import add_pointrend_config
from d2_modeling.point_rend.mask_head import PointMaskHead
from d2_modeling.proposal_generator import RRPN
from d2_modeling.trident_net import add_tridentnet_config
from d2_structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks, RotatedBoxes

SIZE = (64, 96)


def small_cfg(architecture: str, draw_all: bool = False) -> Any:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE, model.BACKBONE.FREEZE_AT = architecture, "cpu", 0
    model.BACKBONE.NAME = "build_resnet_fpn_backbone"
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.OUT_CHANNELS, model.RESNETS.RES2_OUT_CHANNELS, model.RESNETS.NORM = 8, 8, "GN"
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.RPN.POST_NMS_TOPK_TRAIN = model.RPN.POST_NMS_TOPK_TEST = 30
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in (8, 16, 32, 64, 128)]
    heads = model.ROI_HEADS
    heads.NAME, heads.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    heads.NUM_CLASSES, heads.SCORE_THRESH_TEST = 3, 0.0
    model.ROI_BOX_HEAD.NAME, model.ROI_BOX_HEAD.POOLER_RESOLUTION = "FastRCNNConvFCHead", 7
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_MASK_HEAD.CONV_DIM, model.SEM_SEG_HEAD.CONVS_DIM = 8, 32
    model.ROI_KEYPOINT_HEAD.CONV_DIMS, model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = [8], 5
    model.SEM_SEG_HEAD.NUM_CLASSES, cfg.TEST.DETECTIONS_PER_IMAGE = 5, 10
    if draw_all:  # what is drawn then depends on no seed
        for options in (model.RPN, heads):
            options.BATCH_SIZE_PER_IMAGE, options.POSITIVE_FRACTION = 100_000, 1.0
    return cfg


def mask_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.MASK_ON = True
    return build_model(cfg)


def mask_rcnn_c4(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.ROI_HEADS.NAME = "build_resnet_backbone", "Res5ROIHeads"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8, 32, 64]]
    return build_model(cfg)


def keypoint_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.KEYPOINT_ON = True
    return build_model(cfg)


def cascade_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = "CascadeROIHeads", True
    return build_model(cfg)


def mask_and_keypoint_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.MASK_ON = cfg.MODEL.KEYPOINT_ON = True
    return build_model(cfg)


def cascade_mask_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.MASK_ON = cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    return build_model(cfg)


def rotated_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.ANCHOR_GENERATOR.NAME, cfg.MODEL.PROPOSAL_GENERATOR.NAME = (
        "RotatedAnchorGenerator",
        "RRPN",
    )
    cfg.MODEL.RPN.BBOX_REG_WEIGHTS = (1, 1, 1, 1, 1)
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "RROIHeads", "ROIAlignRotated"
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10, 10, 5, 5, 1)
    return build_model(cfg)


def pointrend(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    add_pointrend_config(cfg)
    cfg.MODEL.MASK_ON, head, points = True, cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.POINT_HEAD
    head.NAME, head.POOLER_TYPE, head.POINT_HEAD_ON = "PointRendMaskHead", "", True
    head.FC_DIM, head.OUTPUT_SIDE_RESOLUTION, points.FC_DIM, points.NUM_CLASSES = 8, 4, 4, 3
    points.SUBDIVISION_STEPS, points.SUBDIVISION_NUM_POINTS, points.TRAIN_NUM_POINTS = 2, 9, 5
    return build_model(cfg)


def trident_cfg(**trident: Any) -> Any:
    """Of a C4 model with branches, whose ``MODEL.TRIDENT`` is changed by these."""
    cfg = get_cfg()
    add_tridentnet_config(cfg)
    cfg.MODEL.TRIDENT.update(trident)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_trident_resnet_backbone"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "TridentRPN"
    cfg.MODEL.ROI_HEADS.NAME = "TridentRes5ROIHeads"
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 2
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 20, 0.0
    return cfg


def tridentnet(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    add_tridentnet_config(cfg)
    cfg.MODEL.TRIDENT.TEST_BRANCH_IDX = -1
    cfg.MODEL.BACKBONE.NAME = "build_trident_resnet_backbone"
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "TridentRPN"
    cfg.MODEL.ROI_HEADS.NAME = "TridentRes5ROIHeads"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8, 32, 64]]
    return build_model(cfg)


def panoptic_fpn(**options: Any) -> Any:
    cfg = small_cfg("PanopticFPN", **options)
    cfg.MODEL.MASK_ON, combine = True, cfg.MODEL.PANOPTIC_FPN.COMBINE
    combine.INSTANCES_CONFIDENCE_THRESH, combine.STUFF_AREA_LIMIT = 0.27, 5
    return build_model(cfg)


def proposal_network(**options: Any) -> Any:
    return build_model(small_cfg("ProposalNetwork", **options))


def semantic_segmentor(**options: Any) -> Any:
    return build_model(small_cfg("SemanticSegmentor", **options))


def panoptic_deeplab(**_: Any) -> Any:
    backbone = build_backbone(dense_cfg("RetinaNet")).bottom_up
    shapes = {name: backbone.output_shape()[name] for name in ("res3", "res5")}
    options: dict[str, Any] = {
        "project_channels": [4],
        "decoder_channels": [6, 6],
        "aspp_dropout": 0.0,
        "norm": "BN",
        "aspp_dilations": [1, 2, 3],
        "common_stride": 8,
        "head_channels": 5,
    }
    semantic = PanopticDeepLabSemSegHead(
        shapes, **options, num_classes=3, loss_top_k=0.2, ignore_value=255
    )
    embed = PanopticDeepLabInsEmbedHead(
        shapes, **options, center_loss_weight=1.0, offset_loss_weight=1.0
    )
    torch.nn.init.ones_(embed.center_predictor.bias)  # there are centres
    return PanopticDeepLab(
        backbone=backbone,
        sem_seg_head=semantic,
        ins_embed_head=embed,
        thing_ids=[0, 2],
        stuff_area=10,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )


def dense_cfg(architecture: str) -> Any:
    cfg = small_cfg(architecture)
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RETINANET.NUM_CLASSES, cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 3, 0.0
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    return cfg


def retinanet(**_: Any) -> Any:
    return build_model(dense_cfg("RetinaNet"))


def fcos(**_: Any) -> Any:
    backbone = build_backbone(dense_cfg("RetinaNet"))
    shapes = list(backbone.output_shape().values())
    head = FCOSHead(input_shape=shapes, num_classes=3, conv_dims=[8])
    torch.nn.init.ones_(head.bbox_pred.bias)  # boxes are not empty
    return FCOS(
        backbone=backbone,
        head=head,
        num_classes=3,
        test_score_thresh=0.0,
        pixel_mean=[103.5, 116.3, 123.7],
        pixel_std=[1.0, 1.0, 1.0],
    )


def batch_of(count: int) -> list[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    corners = torch.tensor([[4.0, 4, 40, 44], [50, 10, 90, 60], [20, 30, 60, 50]])
    outlines = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in corners.tolist()]
    middle = ((corners[:, None, :2] + corners[:, None, 2:]) / 2).expand(-1, 5, -1)
    objects = Instances(
        SIZE,
        gt_boxes=Boxes(corners),
        gt_classes=torch.tensor([0, 2, 1]),
        gt_masks=PolygonMasks(outlines),
        gt_keypoints=Keypoints(torch.cat([middle, torch.full((3, 5, 1), 2.0)], 2)),
    )
    return [
        {
            "image": torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=random),
            "sem_seg": torch.randint(0, 5, SIZE, generator=random),
            "instances": objects,
            "height": 80,
            "width": 120,
        }
        for _ in range(count)
    ]


def batch_for(model: Any, count: int) -> list[dict[str, Any]]:
    """`batch_of` with ground truth of the kind that the model wants."""
    batch = batch_of(count)
    objects = batch[0]["instances"]  # of all images
    if isinstance(getattr(model, "proposal_generator", None), RRPN):
        low, high = objects.gt_boxes.tensor.split(2, dim=1)
        angles = torch.full((len(objects), 1), 30.0)
        objects.gt_boxes = RotatedBoxes(torch.cat([(low + high) / 2, high - low, angles], dim=1))
    if any(isinstance(part, PointMaskHead) for part in model.modules()):
        objects.gt_masks = BitMasks.from_polygon_masks(objects.gt_masks, *SIZE)
    if isinstance(model, PanopticDeepLab):
        for entry in batch:
            ones = torch.ones(SIZE)
            entry["sem_seg"] %= 3
            entry |= {"center": ones, "offset": torch.stack([ones, ones])}
            entry |= {"center_weights": ones, "offset_weights": ones}
    return batch
