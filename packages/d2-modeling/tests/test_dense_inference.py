"""Detections of RetinaNet and FCOS against a slow search through all anchors and classes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_structures import ImageList

K = 3
SIDES = (4, 2)
Build = Callable[..., Any]
Suppress = Callable[[Any, Any, float], list[int]]
ANCHORS = {"retinanet": 2, "fcos": 1}


class Found(NamedTuple):
    score: float
    label: int
    box: list[float]


def predictions_of(kind: str, images: int, seed: int) -> list[list[Tensor]]:
    """What a head could give: (N, A * values, H, W) in float64, for both levels."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [ANCHORS[kind] * K, ANCHORS[kind] * 4, *[1] * (kind == "fcos")]
    return [
        [
            torch.randn(images, size, side, side, generator=generator, dtype=torch.float64)
            for side in SIDES
        ]
        for size in sizes
    ]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def decoded(kind: str, anchor: list[float], deltas: list[float]) -> list[float]:
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x, y = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
    if kind == "fcos":
        left, top, right, bottom = (max(delta, 0.0) for delta in deltas)
        return [x - left * width, y - top * height, x + right * width, y + bottom * height]
    x, y = x + deltas[0] * width, y + deltas[1] * height
    half = math.exp(deltas[2]) * width / 2, math.exp(deltas[3]) * height / 2
    return [x - half[0], y - half[1], x + half[0], y + half[1]]


def searched(
    kind: str,
    model: Any,
    predictions: list[list[Tensor]],
    image: int,
    size: tuple[int, int],
    suppress: Suppress,
) -> list[Found]:
    """Take the best pairs of every level, then the best box of each class again and again."""
    found = []
    anchors_per_pixel = ANCHORS[kind]
    features = [torch.zeros(1, 4, side, side) for side in SIDES]
    for level, anchors in enumerate(model.anchor_generator(features)):
        logits, deltas, *others = (output[level][image].tolist() for output in predictions)
        pairs = []
        for index, anchor in enumerate(anchors.tensor.double().tolist()):
            pixel, a = divmod(index, anchors_per_pixel)
            row, column = divmod(pixel, SIDES[level])
            for label in range(K):
                score = sigmoid(logits[a * K + label][row][column])
                if kind == "fcos":
                    score = math.sqrt(score * sigmoid(others[0][0][row][column]))
                offsets = [deltas[a * 4 + side][row][column] for side in range(4)]
                pairs.append(Found(score, label, decoded(kind, anchor, offsets)))
        pairs.sort(key=lambda pair: -pair.score)
        found += pairs[: model.test_topk_candidates]
    found = [pair for pair in found if pair.score > model.test_score_thresh]
    if model.clip_before_nms:
        limits = [size[1], size[0], size[1], size[0]]
        found = [
            Found(s, k, [min(max(x, 0.0), most) for x, most in zip(box, limits, strict=True)])
            for s, k, box in found
        ]
    kept = []
    for label in range(K):
        of_class = [pair for pair in found if pair.label == label]
        if of_class:
            boxes = torch.tensor([pair.box for pair in of_class], dtype=torch.float64)
            scores = torch.tensor([pair.score for pair in of_class], dtype=torch.float64)
            kept += [of_class[row] for row in suppress(boxes, scores, model.test_nms_thresh)]
    return sorted(kept, key=lambda pair: -pair.score)[: model.max_detections_per_image]


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(["retinanet", "fcos"]),
    st.integers(0, 10**6),
    st.sampled_from([1, 5, 1000]),
    st.sampled_from([2, 100]),
    st.sampled_from([0.0, 0.4]),
    st.booleans(),
)
def test_detections_are_those_of_a_slow_search(
    build_dense: Build,
    greedy_nms: Suppress,
    kind: str,
    seed: int,
    topk: int,
    limit: int,
    score_thresh: float,
    clip: bool,
) -> None:
    model = build_dense(
        kind,
        test_topk_candidates=topk,
        max_detections_per_image=limit,
        test_score_thresh=score_thresh,
        test_nms_thresh=0.45,
        clip_before_nms=clip,
    ).double()
    sizes = [(16, 16), (13, 9)]
    images = ImageList(torch.zeros(2, 3, 16, 16, dtype=torch.float64), sizes)
    features = [torch.zeros(2, 4, side, side, dtype=torch.float64) for side in SIDES]
    predictions = predictions_of(kind, 2, seed)
    found = model.forward_inference(images, features, predictions)
    for image, instances in enumerate(found):
        wanted = searched(kind, model, predictions, image, sizes[image], greedy_nms)
        assert instances.image_size == sizes[image]
        assert instances.pred_classes.tolist() == [pair.label for pair in wanted]
        torch.testing.assert_close(
            instances.scores, torch.tensor([p.score for p in wanted], dtype=torch.float64)
        )
        boxes = torch.tensor([p.box for p in wanted], dtype=torch.float32).view(-1, 4)
        torch.testing.assert_close(instances.pred_boxes.tensor, boxes, rtol=1e-5, atol=1e-4)


def test_retinanet_infers_from_predictions_by_level_for_many_images_or_one(
    build_dense: Build,
) -> None:
    model = build_dense("retinanet", test_score_thresh=0.3).double()
    generator = torch.Generator().manual_seed(3)
    anchors = model.anchor_generator([torch.zeros(1, 4, side, side) for side in SIDES])
    logits, deltas = (
        [
            torch.randn(2, len(level), size, generator=generator, dtype=torch.float64)
            for level in anchors
        ]
        for size in (K, 4)
    )
    both = model.inference(anchors, logits, deltas, [(16, 16), (12, 10)])
    for image, together in enumerate(both):
        alone = model.inference_single_image(
            anchors,
            [level[image] for level in logits],
            [level[image] for level in deltas],
            together.image_size,
        )
        assert len(alone) > 0
        assert alone.image_size == together.image_size
        assert torch.equal(alone.scores, together.scores)
        assert torch.equal(alone.pred_classes, together.pred_classes)
        assert torch.equal(alone.pred_boxes.tensor, together.pred_boxes.tensor)
        assert (together.scores.diff() <= 0).all()


@pytest.mark.parametrize("kind", list(ANCHORS))
def test_scores_at_the_threshold_are_no_detections(build_dense: Build, kind: str) -> None:
    """All scores are one half."""
    images = ImageList(torch.zeros(1, 3, 16, 16), [(16, 16)])
    features = [torch.zeros(1, 4, side, side) for side in SIDES]
    predictions = [[level[:1].float() * 0 for level in out] for out in predictions_of(kind, 1, 0)]
    for thresh, wanted in ((0.5, False), (0.499, True)):
        model = build_dense(kind, test_score_thresh=thresh)
        (found,) = model.forward_inference(images, features, predictions)
        assert (len(found) > 0) == wanted


@pytest.mark.parametrize("kind", list(ANCHORS))
def test_whole_batches_without_detections_have_all_fields(build_dense: Build, kind: str) -> None:
    model = build_dense(kind, test_score_thresh=1.0).eval()
    images = torch.rand(2, 3, 24, 16)
    with torch.no_grad():
        outputs = model([{"image": image} for image in images])
        tensors = model.predict_tensors(images, torch.tensor([[24, 16], [24, 16]]))
    for output in outputs:
        found = output["instances"]
        assert found.pred_boxes.tensor.shape == (0, 4)
        assert found.scores.shape == found.pred_classes.shape == (0,)
        assert found.pred_classes.dtype == torch.int64
        assert found.image_size == (24, 16)
    assert tensors["boxes"].shape == (0, 4)
    assert tensors["batch_index"].dtype == torch.int64


@pytest.mark.parametrize("kind", list(ANCHORS))
def test_a_padded_batch_gives_the_same_as_tensors_and_as_dicts(
    build_dense: Build, kind: str
) -> None:
    model = build_dense(kind, test_score_thresh=0.0, max_detections_per_image=40).double().eval()
    generator = torch.Generator().manual_seed(0)
    sizes = [(24, 32), (17, 9)]
    images = [torch.rand(3, *size, generator=generator, dtype=torch.float64) for size in sizes]
    batch = ImageList.from_tensors(images)
    with torch.no_grad():
        outputs = model([{"image": image} for image in images])
        tensors = model.predict_tensors(batch.tensor, torch.tensor(sizes))
    for index, output in enumerate(outputs):
        rows = tensors["batch_index"] == index
        found = output["instances"]
        assert 0 < len(found) == int(rows.sum())
        torch.testing.assert_close(tensors["boxes"][rows].float(), found.pred_boxes.tensor)
        torch.testing.assert_close(tensors["scores"][rows], found.scores)
        assert torch.equal(tensors["classes"][rows], found.pred_classes)
        width, height = sizes[index][::-1]
        boxes = found.pred_boxes.tensor
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height, width, height])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize("kind", list(ANCHORS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_gives_boxes_in_float32(
    build_dense: Build, kind: str, dtype: torch.dtype
) -> None:
    model = build_dense(kind, test_score_thresh=0.0).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        (output,) = model([{"image": torch.rand(3, 24, 16)}])
    assert len(output["instances"]) > 0
    assert output["instances"].pred_boxes.tensor.dtype == torch.float32


@pytest.mark.parametrize("image", [torch.uint8, torch.int32, torch.float16, torch.float64])
@pytest.mark.parametrize("kind", list(ANCHORS))
def test_images_of_any_real_type_give_the_same(
    build_dense: Build, kind: str, image: torch.dtype
) -> None:
    pixels = torch.arange(3 * 16 * 16).view(3, 16, 16) % 251
    model = build_dense(kind, test_score_thresh=0.0, pixel_std=[100.0] * 3).eval()
    with torch.no_grad():
        (wanted,) = model([{"image": pixels.float()}])
        (found,) = model.to(torch.float32)([{"image": pixels.to(image)}])
    torch.testing.assert_close(found["instances"].scores, wanted["instances"].scores)
