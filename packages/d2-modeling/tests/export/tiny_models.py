"""Models of few layers that find much in noise, to be exported within seconds."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_modeling import (
    GeneralizedRCNN,
    PanopticFPN,
    RetinaNet,
    SemanticSegmentor,
    StandardROIHeads,
)
from d2_modeling.anchor_generator import DefaultAnchorGenerator, RotatedAnchorGenerator
from d2_modeling.backbone import (
    FPN,
    Backbone,
    BasicStem,
    DeformBottleneckBlock,
    ResNet,
    SimpleFeaturePyramid,
    ViT,
)
from d2_modeling.box_regression import Box2BoxTransform, Box2BoxTransformRotated
from d2_modeling.layers import ShapeSpec
from d2_modeling.matcher import Matcher
from d2_modeling.meta_arch import FCOS, FCOSHead, RetinaNetHead, SemSegFPNHead
from d2_modeling.point_rend import (
    CoarseMaskHead,
    PointRendMaskHead,
    PointRendSemSegHead,
    StandardPointHead,
)
from d2_modeling.poolers import ROIPooler
from d2_modeling.proposal_generator import RPN, RRPN, StandardRPNHead
from d2_modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
    RotatedFastRCNNOutputLayers,
    RROIHeads,
)

_WIDTH = 8
_STRIDES = {"p3": 8, "p4": 16}
_POOLED = ShapeSpec(channels=_WIDTH, height=4, width=4)
_TRAINING_POINTS: dict[str, Any] = {
    "train_num_points": 9,
    "oversample_ratio": 3.0,
    "importance_sample_ratio": 0.75,
}
# Layers that start near zero, and how far from it they are put.
_UNSURE = {"cls_score": 0.5, "objectness_logits": 0.5, "prediction": 0.1, "predictor": 0.1}
_UNSURE["conv2_offset"] = 0.1
_PIXELS: dict[str, Any] = {"pixel_mean": (120.0,) * 3, "pixel_std": (60.0,) * 3}


class TwoLevels(Backbone):
    """One convolution per feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, _WIDTH, 8, stride=8)
        self.coarse = nn.Conv2d(_WIDTH, _WIDTH, 2, stride=2)
        self._out_features = list(_STRIDES)
        self._out_feature_channels = dict.fromkeys(_STRIDES, _WIDTH)
        self._out_feature_strides = dict(_STRIDES)

    @property
    def size_divisibility(self) -> int:
        return 16

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.fine(x).relu()
        return {"p3": fine, "p4": self.coarse(fine)}


class OfOneSize(TwoLevels):
    """Its code makes numbers of sizes."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        sizes = [int(size) for size in x.shape]
        return super().forward(x.view(*sizes))


def _vit() -> Backbone:
    """Of one block within windows, and one over the whole map."""
    net = ViT(
        img_size=64,
        patch_size=16,
        embed_dim=16,
        depth=2,
        num_heads=2,
        use_rel_pos=True,
        rel_pos_zero_init=False,
        window_size=3,
        window_block_indexes=(0,),
        pretrain_img_size=64,
    )
    return SimpleFeaturePyramid(net, "last_feat", _WIDTH, scale_factors=(2.0, 1.0), square_pad=64)


def _deformable_resnet() -> Backbone:
    """Of both versions, one with groups."""
    block: dict[str, Any] = {"bottleneck_channels": _WIDTH, "stride": 2, "norm": ""}
    grouped = {"num_groups": 2, "deform_num_groups": 2, "deform_modulated": True}
    stages = [
        [DeformBottleneckBlock(_WIDTH, 2 * _WIDTH, **block, **grouped)],
        [DeformBottleneckBlock(2 * _WIDTH, 3 * _WIDTH, **block)],
    ]
    net = ResNet(BasicStem(out_channels=_WIDTH, norm=""), stages, out_features=["res2", "res3"])
    return FPN(net, ["res2", "res3"], _WIDTH)


def _anchors() -> DefaultAnchorGenerator:
    return DefaultAnchorGenerator(
        sizes=[[24], [48]], aspect_ratios=[0.5, 2.0], strides=list(_STRIDES.values())
    )


def _shapes() -> list[ShapeSpec]:
    return [ShapeSpec(channels=_WIDTH, stride=stride) for stride in _STRIDES.values()]


def retinanet() -> nn.Module:
    return RetinaNet(
        backbone=TwoLevels(),
        head=RetinaNetHead(input_shape=_shapes(), num_classes=3, num_anchors=2, conv_dims=[8]),
        head_in_features=list(_STRIDES),
        anchor_generator=_anchors(),
        box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
        anchor_matcher=Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
        num_classes=3,
        **_PIXELS,
    )


def fcos(backbone: Backbone | None = None) -> nn.Module:
    return FCOS(
        backbone=backbone or TwoLevels(),
        head=FCOSHead(input_shape=_shapes(), num_classes=3, conv_dims=[8]),
        head_in_features=list(_STRIDES),
        num_classes=3,
        **_PIXELS,
    )


def _pooler(size: int) -> ROIPooler:
    return ROIPooler(size, [1 / stride for stride in _STRIDES.values()], 0, "ROIAlignV2")


def _box_heads() -> dict[str, Any]:
    return {
        "box_head": FastRCNNConvFCHead(_POOLED, conv_dims=[], fc_dims=[16]),
        "box_predictor": _predictor(class_agnostic=False),
        "proposal_matcher": Matcher([0.5], [0, 1]),
    }


def _cascade_heads() -> dict[str, Any]:
    return {
        "box_heads": [FastRCNNConvFCHead(_POOLED, conv_dims=[], fc_dims=[16]) for _ in range(2)],
        "box_predictors": [_predictor(class_agnostic=True) for _ in range(2)],
        "proposal_matchers": [Matcher([threshold], [0, 1]) for threshold in (0.5, 0.6)],
    }


def _predictor(*, class_agnostic: bool) -> FastRCNNOutputLayers:
    return FastRCNNOutputLayers(
        ShapeSpec(channels=16),
        box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
        num_classes=3,
        test_score_thresh=0.3,
        test_topk_per_image=10,
        cls_agnostic_bbox_reg=class_agnostic,
    )


def _point_head(num_classes: int) -> nn.Module:
    fine = ShapeSpec(channels=_WIDTH)
    return StandardPointHead(fine, num_classes=num_classes, fc_dim=16, num_fc=2)


def _point_mask_head() -> nn.Module:
    return PointRendMaskHead(
        coarse_head=CoarseMaskHead(
            _POOLED, conv_dim=_WIDTH, fc_dim=16, num_fc=1, output_shape=(3, 4, 4)
        ),
        point_head=_point_head(3),
        feature_scales={name: 1 / stride for name, stride in _STRIDES.items()},
        in_features=["p4"],
        pooler_size=4,
        point_in_features=["p3"],
        init_resolution=4,
        subdivision_steps=2,
        subdivision_num_points=20,
        **_TRAINING_POINTS,
    )


def _roi_heads(*, masks: bool, points: bool, keypoints: bool, cascade: bool) -> nn.Module:
    names = list(_STRIDES)
    heads = _cascade_heads() if cascade else _box_heads()
    if masks:
        heads |= {
            "mask_in_features": names,
            "mask_pooler": _pooler(4),
            "mask_head": MaskRCNNConvUpsampleHead(_POOLED, num_classes=3, conv_dims=(8, 8)),
        }
    if points:
        heads |= {"mask_in_features": names, "mask_head": _point_mask_head()}
    if keypoints:
        heads |= {
            "keypoint_in_features": names,
            "keypoint_pooler": _pooler(4),
            "keypoint_head": KRCNNConvDeconvUpsampleHead(_POOLED, num_keypoints=5, conv_dims=(8,)),
        }
    return (CascadeROIHeads if cascade else StandardROIHeads)(
        num_classes=3,
        batch_size_per_image=8,
        positive_fraction=0.5,
        box_in_features=names,
        box_pooler=_pooler(4),
        **heads,
    )


def _rpn(kind: type[RPN] = RPN, anchors: Any = None, box_dim: int = 4) -> RPN:
    transform = Box2BoxTransform if box_dim == 4 else Box2BoxTransformRotated
    return kind(
        in_features=list(_STRIDES),
        head=StandardRPNHead(in_channels=_WIDTH, num_anchors=2, box_dim=box_dim),
        anchor_generator=anchors or _anchors(),
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=transform((1.0,) * box_dim),
        batch_size_per_image=8,
        positive_fraction=0.5,
        pre_nms_topk=(30, 30),
        post_nms_topk=(15, 15),
    )


def rcnn(
    *,
    masks: bool = False,
    points: bool = False,
    keypoints: bool = False,
    cascade: bool = False,
    kind: type[GeneralizedRCNN] = GeneralizedRCNN,
    backbone: Backbone | None = None,
    **more: Any,
) -> nn.Module:
    return kind(
        backbone=backbone or TwoLevels(),
        proposal_generator=_rpn(),
        roi_heads=_roi_heads(masks=masks, points=points, keypoints=keypoints, cascade=cascade),
        **_PIXELS,
        **more,
    )


def rotated_rcnn() -> nn.Module:
    anchors = RotatedAnchorGenerator(
        sizes=[[24], [48]], aspect_ratios=[0.5], angles=[-40, 30], strides=list(_STRIDES.values())
    )
    scales = [1 / stride for stride in _STRIDES.values()]
    return GeneralizedRCNN(
        backbone=TwoLevels(),
        proposal_generator=_rpn(RRPN, anchors, box_dim=5),
        roi_heads=RROIHeads(
            num_classes=3,
            batch_size_per_image=8,
            positive_fraction=0.5,
            proposal_matcher=Matcher([0.5], [0, 1]),
            box_in_features=list(_STRIDES),
            box_pooler=ROIPooler(4, scales, 0, "ROIAlignRotated"),
            box_head=FastRCNNConvFCHead(_POOLED, conv_dims=[], fc_dims=[16]),
            box_predictor=RotatedFastRCNNOutputLayers(
                ShapeSpec(channels=16),
                box2box_transform=Box2BoxTransformRotated((10.0, 10.0, 5.0, 5.0, 1.0)),
                num_classes=3,
                test_score_thresh=0.3,
                test_topk_per_image=10,
            ),
        ),
        **_PIXELS,
    )


def _sem_seg_head() -> nn.Module:
    shapes = {name: ShapeSpec(channels=_WIDTH, stride=stride) for name, stride in _STRIDES.items()}
    return SemSegFPNHead(shapes, num_classes=4, conv_dims=8, common_stride=8, norm="GN")


def segmentor() -> nn.Module:
    return SemanticSegmentor(backbone=TwoLevels(), sem_seg_head=_sem_seg_head(), **_PIXELS)


def point_segmentor() -> nn.Module:
    head = PointRendSemSegHead(
        coarse_sem_seg_head=_sem_seg_head(),
        point_head=_point_head(4),
        in_features=["p3"],
        subdivision_steps=2,
        subdivision_num_points=200,
        **_TRAINING_POINTS,
    )
    return SemanticSegmentor(backbone=TwoLevels(), sem_seg_head=head, **_PIXELS)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "RetinaNet": retinanet,
    "FCOS": fcos,
    "Faster R-CNN": rcnn,
    "Mask R-CNN": lambda: rcnn(masks=True),
    "Keypoint R-CNN": lambda: rcnn(keypoints=True),
    "Cascade Mask R-CNN": lambda: rcnn(masks=True, cascade=True),
    "Rotated Faster R-CNN": rotated_rcnn,
    "FCOS with deformable convolutions": lambda: fcos(_deformable_resnet()),
    "Mask R-CNN with ViTDet": lambda: rcnn(masks=True, backbone=_vit()),
    "PointRend, instances": lambda: rcnn(points=True),
    "PointRend, semantic": point_segmentor,
    "SemanticSegmentor": segmentor,
    "PanopticFPN": lambda: rcnn(masks=True, kind=PanopticFPN, sem_seg_head=_sem_seg_head()),
}


def build(name: str) -> Any:
    """A model of `MODELS` in evaluation mode, its last layers scaled until it is sure of things."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for part_name, part in model.named_modules():
        std = _UNSURE.get(part_name.rsplit(".", 1)[-1])
        if std is not None:
            with torch.no_grad():
                part.weight.normal_(std=std)  # type: ignore[union-attr,operator]  # linear layers
                part.bias.zero_()  # type: ignore[union-attr,operator]  # the same
    return model


def images(sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Noise of the given heights and widths."""
    generator = torch.Generator().manual_seed(1)
    return [
        {"image": torch.randint(0, 255, (3, *size), generator=generator, dtype=torch.uint8)}
        for size in sizes
    ]
