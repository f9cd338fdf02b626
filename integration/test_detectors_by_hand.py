"""Detectors put together by hand: one's own backbone, our pyramid, our heads; no config.

Each begins with nothing, learns from a handful of pictures with the data package's loader, and is
judged by the evaluation package. Nothing here knows of the engine.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_data import DatasetMapper, build_detection_train_loader
from d2_data.datasets import load_coco_json
from d2_data.datasets.shapes import generate_shapes
from d2_eval import COCOEvaluator, inference_on_dataset
from d2_modeling import FPN, GeneralizedRCNN, RetinaNet, StandardROIHeads
from d2_modeling.anchor_generator import DefaultAnchorGenerator
from d2_modeling.backbone import Backbone
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.dense import Candidates, DenseDetector, FCOSHead, RetinaNetHead
from d2_modeling.layers import ShapeSpec
from d2_modeling.matcher import Matcher
from d2_modeling.meta_arch import FCOS
from d2_modeling.poolers import ROIPooler
from d2_modeling.proposal_generator import RPN, StandardRPNHead
from d2_modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
)
from d2_structures import Boxes, Instances

WIDTH = 16
NUM_CLASSES = 4
PIXELS: dict[str, Any] = {"pixel_mean": (120.0,) * 3, "pixel_std": (60.0,) * 3}
SIZE = 96
SCORE = 0.01
"""Of a detection: who has learned little is sure of little."""


class Pictures:
    """A few drawn pictures, as records for training and as a COCO file for evaluation."""

    def __init__(self, folder: Any) -> None:
        data = generate_shapes(folder, 8, image_size=SIZE)
        self.annotations = str(data.instances_json)
        self.records = load_coco_json(data.instances_json, data.image_root, "by_hand")

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        mapper = DatasetMapper(
            is_train=True, augmentations=[], image_format="RGB", use_instance_mask=True
        )
        return iter(
            build_detection_train_loader(self.records, mapper=mapper, total_batch_size=4, seed=0)
        )

    def samples(self) -> list[list[dict[str, Any]]]:
        mapper = DatasetMapper(is_train=False, augmentations=[], image_format="RGB")
        return [[mapper(record)] for record in self.records]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return Pictures(tmp_path_factory.mktemp("shapes"))


class MyNetwork(Backbone):
    """Four convolutions: what somebody brings along. Two maps, of strides 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.coarse = nn.Sequential(
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine = self.fine(image)
        return {"fine": fine, "coarse": self.coarse(fine)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            "fine": ShapeSpec(channels=WIDTH, stride=4),
            "coarse": ShapeSpec(channels=2 * WIDTH, stride=8),
        }


def pyramid() -> FPN:
    """Our pyramid on it: levels p2 and p3 of one width."""
    return FPN(MyNetwork(), ["fine", "coarse"], WIDTH)


def anchors() -> DefaultAnchorGenerator:
    return DefaultAnchorGenerator(sizes=[[16], [40]], aspect_ratios=[1.0], strides=[4, 8])


def two_stage(*, masks: bool) -> GeneralizedRCNN:
    levels = ["p2", "p3"]
    pooled = ShapeSpec(channels=WIDTH, height=4, width=4)
    pooler = ROIPooler(4, [1 / 4, 1 / 8], 0, "ROIAlignV2", canonical_box_size=32, canonical_level=3)
    mask_parts: dict[str, Any] = {}
    if masks:
        mask_parts = {
            "mask_in_features": levels,
            "mask_pooler": pooler,
            "mask_head": MaskRCNNConvUpsampleHead(
                pooled, num_classes=NUM_CLASSES, conv_dims=(WIDTH, WIDTH)
            ),
        }
    return GeneralizedRCNN(
        backbone=pyramid(),
        proposal_generator=RPN(
            in_features=levels,
            head=StandardRPNHead(in_channels=WIDTH, num_anchors=1),
            anchor_generator=anchors(),
            anchor_matcher=Matcher([0.3, 0.6], [0, -1, 1], allow_low_quality_matches=True),
            box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
            batch_size_per_image=64,
            positive_fraction=0.5,
            pre_nms_topk=(200, 100),
            post_nms_topk=(60, 30),
        ),
        roi_heads=StandardROIHeads(
            num_classes=NUM_CLASSES,
            batch_size_per_image=32,
            positive_fraction=0.5,
            proposal_matcher=Matcher([0.5], [0, 1]),
            box_in_features=levels,
            box_pooler=pooler,
            box_head=FastRCNNConvFCHead(pooled, conv_dims=[], fc_dims=[64]),
            box_predictor=FastRCNNOutputLayers(
                ShapeSpec(channels=64),
                box2box_transform=Box2BoxTransform((10.0, 10.0, 5.0, 5.0)),
                num_classes=NUM_CLASSES,
                test_score_thresh=SCORE,
            ),
            **mask_parts,
        ),
        **PIXELS,
    )


def retinanet() -> RetinaNet:
    shapes = [ShapeSpec(channels=WIDTH)] * 2
    return RetinaNet(
        backbone=pyramid(),
        head=RetinaNetHead(
            input_shape=shapes, num_classes=NUM_CLASSES, num_anchors=1, conv_dims=[WIDTH]
        ),
        anchor_generator=anchors(),
        anchor_matcher=Matcher([0.4, 0.5], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        num_classes=NUM_CLASSES,
        test_score_thresh=SCORE,
        initial_normalizer=10,
        **PIXELS,
    )


def fcos() -> FCOS:
    shapes = [ShapeSpec(channels=WIDTH)] * 2
    return FCOS(
        backbone=pyramid(),
        head=FCOSHead(input_shape=shapes, num_classes=NUM_CLASSES, conv_dims=[WIDTH], norm="GN"),
        num_classes=NUM_CLASSES,
        test_score_thresh=SCORE,
        initial_normalizer=10,
        **PIXELS,
    )


class NearestCentre(DenseDetector):
    """A detector of one's own: anchors whose centre is nearest to an object's are responsible."""

    def label_anchors(self, anchors: Any, gt_instances: Any) -> tuple[list[Tensor], list[Tensor]]:
        centres = Boxes.cat(list(anchors)).get_centers()
        labels, boxes = [], []
        for gt in gt_instances:
            label = torch.full((len(centres),), self.num_classes)
            box = torch.zeros(len(centres), 4)
            nearest = torch.cdist(gt.gt_boxes.get_centers(), centres).topk(4, largest=False).indices
            label[nearest] = gt.gt_classes[:, None]
            box[nearest] = gt.gt_boxes.tensor[:, None]
            labels.append(label)
            boxes.append(box)
        return labels, boxes

    def losses(self, *predictions: Any) -> dict[str, Tensor]:
        found = self.anchor_losses(*predictions)
        return {"loss_class": found.classification, "loss_box": found.regression}

    def level_candidates(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, *others: Tensor
    ) -> Candidates:
        return self.best_candidates(anchors, logits.sigmoid(), deltas)


def own_dense() -> NearestCentre:
    shapes = [ShapeSpec(channels=WIDTH)] * 2
    return NearestCentre(
        backbone=pyramid(),
        head=RetinaNetHead(
            input_shape=shapes, num_classes=NUM_CLASSES, num_anchors=1, conv_dims=[WIDTH]
        ),
        anchor_generator=anchors(),
        box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)),
        num_classes=NUM_CLASSES,
        test_score_thresh=SCORE,
        initial_normalizer=10,
        **PIXELS,
    )


DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "Faster R-CNN": lambda: two_stage(masks=False),
    "Mask R-CNN": lambda: two_stage(masks=True),
    "RetinaNet": retinanet,
    "FCOS": fcos,
    "a dense one of one's own": own_dense,
}


def losses_while_learning(model: nn.Module, pictures: Pictures, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _, batch in zip(range(steps), pictures.batches(), strict=False):
        loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


@pytest.mark.parametrize("name", list(DETECTORS))
def test_a_detector_of_parts_learns_and_is_evaluated(name: str, pictures: Pictures) -> None:
    torch.manual_seed(0)
    model = DETECTORS[name]().train()
    history = losses_while_learning(model, pictures, 16)
    assert sum(history[-4:]) < 0.9 * sum(history[:4])
    evaluator = COCOEvaluator(pictures.annotations, tasks=("bbox",))
    results = inference_on_dataset(model.eval(), pictures.samples(), evaluator)
    assert 0.0 <= results["bbox"]["AP50"] <= 100.0


def test_a_part_of_ones_own_takes_the_place_of_ours(pictures: Pictures) -> None:
    """Any module may stand where ours stood: here a predictor of masks with one more layer."""
    torch.manual_seed(0)
    model = two_stage(masks=True)
    head: Any = model.roi_heads.mask_head
    head.predictor = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU(), head.predictor)
    losses = model.train()(next(pictures.batches()))
    losses["loss_mask"].backward()
    assert head.predictor[0].weight.grad.abs().sum() > 0
    with torch.no_grad():
        (output,) = model.eval()(pictures.samples()[0])
    assert isinstance(output["instances"], Instances)
