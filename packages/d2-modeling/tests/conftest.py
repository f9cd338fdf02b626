"""Builders shared by the tests, and reference values of the original system."""

import gzip
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_modeling import GeneralizedRCNN, RetinaNet, StandardROIHeads, host_waits
from d2_modeling.anchor_generator import DefaultAnchorGenerator
from d2_modeling.backbone import (
    FPN,
    Backbone,
    BasicStem,
    BottleneckBlock,
    LastLevelMaxPool,
    ResNet,
)
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.layers import ShapeSpec
from d2_modeling.matcher import Matcher
from d2_modeling.meta_arch import FCOS, FCOSHead, RetinaNetHead
from d2_modeling.poolers import ROIPooler
from d2_modeling.proposal_generator import RPN, StandardRPNHead
from d2_modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
)
from d2_structures import polygon_masks

_REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
_STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


def _load_golden(name: str) -> Any:
    shared = pathlib.Path(os.environ.get("D2_SHARED", _REPOSITORY.parent / "shared"))
    path = shared / "golden" / name
    if not path.is_file():
        pytest.skip(f"reference values {name} are not at hand; set D2_SHARED to their folder")
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".gz":
        return json.loads(gzip.decompress(path.read_bytes()))
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="session")
def load_golden() -> Callable[[str], Any]:
    """Reads a file of reference values, or skips the test."""
    return _load_golden


@pytest.fixture(scope="session")
def golden_modeling() -> Any:
    return _load_golden("ops_modeling.pt")


@pytest.fixture(scope="session")
def golden_layers() -> Any:
    return _load_golden("ops_layers_structures.pt")


@pytest.fixture(scope="session")
def build_rcnn() -> Callable[..., GeneralizedRCNN]:
    """Builds an R-CNN with ResNet-FPN out of the options that the tests vary."""
    return _build_rcnn


def _build_rcnn(
    *,
    depth: int = 50,
    stem: int = 8,
    res2: int = 16,
    bottleneck: int = 4,
    num_groups: int = 1,
    norm: str = "FrozenBN",
    freeze_at: int = 2,
    stride_in_1x1: bool = True,
    fpn: int = 16,
    fpn_norm: str = "",
    anchor_sizes: tuple[int, ...] = (8, 16, 32, 64, 128),
    num_classes: int = 5,
    conv_dims: tuple[int, ...] = (),
    fc: int = 32,
    head_norm: str = "",
    mask: tuple[int, ...] | None = None,
    keypoint: tuple[int, ...] | None = None,
    cls_agnostic_mask: bool = False,
    sample_all: bool = False,
    pixel_std: tuple[float, ...] = (57.375, 57.12, 58.395),
    **options: Any,
) -> GeneralizedRCNN:
    levels = ["p2", "p3", "p4", "p5"]
    batch_sizes = (10**6, 10**6) if sample_all else (256, 64)
    fractions = (1.0, 1.0) if sample_all else (0.5, 0.25)
    backbone = _backbone(depth, stem, res2, bottleneck, num_groups, norm, freeze_at, stride_in_1x1)
    transform = Box2BoxTransform((1.0, 1.0, 1.0, 1.0))
    heads: dict[str, Any] = {}
    if mask is not None:
        heads |= {
            "mask_in_features": levels,
            "mask_pooler": _pooler(14),
            "mask_head": MaskRCNNConvUpsampleHead(
                ShapeSpec(channels=fpn, height=14, width=14),
                num_classes=1 if cls_agnostic_mask else num_classes,
                conv_dims=mask,
                conv_norm=head_norm,
            ),
        }
    if keypoint is not None:
        heads |= {
            "keypoint_in_features": levels,
            "keypoint_pooler": _pooler(14),
            "keypoint_head": KRCNNConvDeconvUpsampleHead(
                ShapeSpec(channels=fpn, height=14, width=14),
                num_keypoints=17,
                conv_dims=keypoint,
                loss_normalizer="visible",
            ),
        }
    return GeneralizedRCNN(
        backbone=FPN(backbone, ["res2", "res3", "res4", "res5"], fpn, fpn_norm, LastLevelMaxPool()),
        proposal_generator=RPN(
            in_features=list(_STRIDES),
            head=StandardRPNHead(in_channels=fpn, num_anchors=3),
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[size] for size in anchor_sizes],
                aspect_ratios=[0.5, 1.0, 2.0],
                strides=list(_STRIDES.values()),
                offset=0.0,
            ),
            anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
            box2box_transform=transform,
            batch_size_per_image=batch_sizes[0],
            positive_fraction=fractions[0],
            pre_nms_topk=(300, 200),
            post_nms_topk=(100, 60),
        ),
        roi_heads=StandardROIHeads(
            num_classes=num_classes,
            batch_size_per_image=batch_sizes[1],
            positive_fraction=fractions[1],
            proposal_matcher=Matcher([0.5], [0, 1]),
            box_in_features=levels,
            box_pooler=_pooler(7),
            box_head=FastRCNNConvFCHead(
                ShapeSpec(channels=fpn, height=7, width=7),
                conv_dims=conv_dims,
                fc_dims=[fc] if conv_dims else [fc, fc],
                conv_norm=head_norm,
            ),
            box_predictor=FastRCNNOutputLayers(
                ShapeSpec(channels=fc),
                box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
                num_classes=num_classes,
                test_score_thresh=0.05,
                test_topk_per_image=20,
                **options,
            ),
            **heads,
        ),
        pixel_mean=(103.53, 116.28, 123.675),
        pixel_std=pixel_std,
        input_format="BGR",
    )


def _backbone(
    depth: int,
    stem: int,
    res2: int,
    bottleneck: int,
    num_groups: int,
    norm: str,
    freeze_at: int,
    stride_in_1x1: bool,
) -> ResNet:
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
    stages: list[list[Any]] = []
    in_channels = stem
    for index, num_blocks in enumerate(blocks):
        stages.append(
            ResNet.make_stage(
                BottleneckBlock,
                num_blocks,
                in_channels=in_channels,
                out_channels=res2 * 2**index,
                bottleneck_channels=bottleneck * num_groups * 2**index,
                num_groups=num_groups,
                norm=norm,
                stride_in_1x1=stride_in_1x1,
                stride_per_block=[1 if index == 0 else 2] + [1] * (num_blocks - 1),
            )
        )
        in_channels = res2 * 2**index
    features = ["res2", "res3", "res4", "res5"]
    return ResNet(BasicStem(3, stem, norm), stages, out_features=features, freeze_at=freeze_at)


def _pooler(size: int) -> ROIPooler:
    return ROIPooler(size, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 0, "ROIAlignV2")


class _TwoMaps(Backbone):
    """One convolution, and the averages of its map: strides 4 and 8."""

    size_divisibility = 8

    def __init__(self) -> None:
        super().__init__()
        self._out_features = ["fine", "coarse"]
        self._out_feature_strides = {"fine": 4, "coarse": 8}
        self._out_feature_channels = dict.fromkeys(self._out_features, 4)
        self.conv = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.conv(x)
        return {"fine": fine, "coarse": nn.functional.avg_pool2d(fine, 2)}


@pytest.fixture(scope="session")
def build_dense() -> Callable[..., Any]:
    """Builds a ``"retinanet"`` or ``"fcos"`` of two levels and three classes."""
    return _build_dense


def _build_dense(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    shapes = [ShapeSpec(channels=4, stride=stride) for stride in (4, 8)]
    options = {
        "backbone": _TwoMaps(),
        "num_classes": 3,
        "pixel_mean": [0.0] * 3,
        "pixel_std": [1.0] * 3,
        **options,
    }
    if kind == "fcos":
        head = FCOSHead(input_shape=shapes, num_classes=3, conv_dims=[4])
        return FCOS(**{"head": head, **options})
    parts: dict[str, Any] = {
        "head": RetinaNetHead(input_shape=shapes, num_classes=3, num_anchors=2, conv_dims=[4]),
        "anchor_generator": DefaultAnchorGenerator(
            sizes=[[8], [16]], aspect_ratios=[0.5, 2.0], strides=[4, 8]
        ),
        "box2box_transform": Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        "anchor_matcher": Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
    }
    return RetinaNet(**{**parts, **options})


@pytest.fixture(scope="session")
def gradient_norms() -> Callable[[nn.Module], dict[str, float]]:
    """The norm of the gradient of every parameter that has one."""
    return lambda model: {
        name: parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.fixture
def device() -> torch.device:
    """A CUDA device; under ``D2_GPU_STAND_IN=cpu`` the CPU stands in where there is none."""
    if not torch.cuda.is_available() and os.environ.get("D2_GPU_STAND_IN") != "cpu":
        pytest.skip("no CUDA device")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _iou(a: list[float], b: list[float]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def _greedy_nms(boxes: Any, scores: Any, thresh: float) -> list[int]:
    rows, kept = boxes.double().tolist(), []
    for index in sorted(range(len(rows)), key=lambda i: -scores[i].item()):
        if all(_iou(rows[index], rows[other]) <= thresh for other in kept):
            kept.append(index)
    return kept


@pytest.fixture(scope="session")
def iou_of_two() -> Callable[[list[float], list[float]], float]:
    """The overlap of two XYXY boxes, by its definition."""
    return _iou


@pytest.fixture(scope="session")
def greedy_nms() -> Callable[[Any, Any, float], list[int]]:
    """Rows of boxes that suppression keeps, by decreasing score, found one by one in float64."""
    return _greedy_nms


def _random_boxes(count: int, seed: int = 0, extent: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * extent
    size = 1 + torch.rand(count, 2, generator=generator) * extent / 2
    return torch.cat([low, low + size], dim=1)


def _random_rotated_boxes(count: int, seed: int = 0, extent: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * extent
    size = 1 + torch.rand(count, 2, generator=generator) * extent / 2
    angle = torch.rand(count, 1, generator=generator) * 360 - 180
    return torch.cat([centre, size, angle], dim=1)


@pytest.fixture(scope="session")
def random_boxes() -> Callable[..., Tensor]:
    """Draws (count, 4) XYXY boxes with sides of at least one pixel: count, seed, extent."""
    return _random_boxes


@pytest.fixture(scope="session")
def random_rotated_boxes() -> Callable[..., Tensor]:
    """Draws (count, 5) rotated boxes with sides of at least one pixel: count, seed, extent."""
    return _random_rotated_boxes


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the CPU be treated as a device whose values the host would have to wait for."""
    monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: False)
    monkeypatch.setattr(polygon_masks, "is_read_at_once", lambda device: False)


def _convolved(x: Tensor, layer: Any) -> Tensor:
    (kh, kw), (sh, sw) = layer.kernel_size, layer.stride
    (ph, pw), (dh, dw) = layer.padding, layer.dilation
    x = F.pad(x, (pw, pw, ph, ph))
    rows = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    columns = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    groups = x.unflatten(1, (layer.groups, -1))
    weight = layer.weight.unflatten(0, (layer.groups, -1))
    out: Any = 0
    for i in range(kh):
        for j in range(kw):
            part = groups[..., i * dh :: sh, j * dw :: sw][..., :rows, :columns]
            out = out + torch.einsum("ngchw,goc->ngohw", part, weight[..., i, j])
    out = out.flatten(1, 2)
    return out if layer.bias is None else out + layer.bias[:, None, None]


@pytest.fixture(scope="session")
def convolved() -> Callable[[Tensor, Any], Tensor]:
    """A convolution layer on (N, C, H, W) as the sum over its taps, without norm and activation."""
    return _convolved
