"""How often the host waits for the device in a batch, counted on the CPU as if it were a device.

Counted are operations whose result the host has to see, or whose output has a size that depends on
values, and numbers that are sent to the device so that the host sees them arrive. Checks that are
made of values in the CPU's memory only are not (``ON_THE_CPU_ONLY``), nor moves of what is on the
device of a model already (``THERE_ALREADY``).

What is left, whatever the number of images, feature maps and fields:

* each suppression: the host asks how many boxes each image keeps, so that it can make one
  `Instances` for each. In the same copy it learns whether predictions are finite, what the scores
  of detections are, and whether these keep an area in the output. Proposals are not asked for in
  inference where all heads are known to leave out rows of NaN: each image then has as many of them.
  TridentNet suppresses detections once more, when it joins branches;
* post-processing of proposals alone and of rotated boxes: how many keep an area in the output;
* merging to panoptic segments: what has stayed at the end;
* Panoptic-DeepLab: how many centres there are, each of which is compared with all pixels by itself,
  and how many pixels each got, as there is no mask of those that got none;
* training: how many proposals there are to draw from, as heads get no more than are drawn, and how
  many of the foreground have visible keypoints. What is drawn is in order: foreground comes first;
* polygons live on the host and are drawn there: where the boxes are that they are drawn in, and
  which polygon each of them wants. (Run-length masks are still chosen and cut image by image.)

Seldom there is one more in inference: where a detection is empty, or an image has more candidates
than are looked at first and they are not enough.
"""

import pathlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2_modeling import host_waits
from d2_modeling.host_waits import remember, remembered
from d2_modeling.matcher import Matcher
from d2_modeling.postprocessing import detector_postprocess
from d2_modeling.roi_heads import select_foreground_proposals
from d2_modeling.roi_heads.region_selection import foreground_rows
from d2_structures import BitMasks, Boxes, Instances

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from small_detectors import (  # of this folder
    SIZE,
    batch_for,
    batch_of,
    cascade_mask_rcnn,
    cascade_rcnn,
    fcos,
    keypoint_rcnn,
    mask_and_keypoint_rcnn,
    mask_rcnn,
    mask_rcnn_c4,
    panoptic_deeplab,
    panoptic_fpn,
    pointrend,
    proposal_network,
    retinanet,
    rotated_rcnn,
    semantic_segmentor,
    tridentnet,
)

WAITING = {
    *("nonzero", "_local_scalar_dense", "masked_select", "equal", "bincount", "isin"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"),
    *("nms", "batched_nms", "nms_rotated", "batched_nms_rotated"),
}
INDEXING = {"index", "index_put", "index_put_"}
ON_THE_CPU_ONLY = {
    ("gt_classes.py", "check_gt_classes"),
    ("gt_classes.py", "check_pixel_labels"),
    ("box_regression.py", "_check_positive_size"),
}
THERE_ALREADY = {
    ("bit_masks.py", "crop_and_resize"),
    ("panoptic_merging.py", "_lay_things"),
}


class Waits(TorchDispatchMode):
    """Notes from where in the package each wait comes."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[str, str]] = []

    def note(self) -> None:
        frame: Any = sys._getframe(1)
        while not frame.f_globals["__name__"].startswith("d2_"):
            frame = frame.f_back
        place = frame.f_code.co_filename.rsplit("/", 1)[1], frame.f_code.co_name
        if place not in ON_THE_CPU_ONLY | THERE_ALREADY:
            self.places.append(place)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in WAITING or by_mask:
            self.note()
        return func(*args, **(kwargs or {}))


@contextmanager
def counted_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    with Waits() as waits, monkeypatch.context() as patch:
        for owner, name, waiting in (
            (Tensor, "tolist", lambda *_, **__: True),
            (Tensor, "cpu", lambda *_, **__: True),
            (Tensor, "new_tensor", lambda *_, **__: True),
            (torch, "tensor", lambda *_, device=None, **__: device is not None),
            (Tensor, "to", moves_with_a_wait),
        ):
            patch.setattr(owner, name, noting(waits, getattr(owner, name), waiting))
        yield waits


def noting(waits: Waits, plain: Callable[..., Any], waiting: Callable[..., bool]) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        if waiting(*args, **kwargs):
            waits.note()
        return plain(*args, **kwargs)

    return noted


def moves_with_a_wait(_: Tensor, *args: Any, non_blocking: bool = False, **kwargs: Any) -> bool:
    """Whether a tensor may be moved between devices so that the host has to see it arrive."""
    targets = (*args, kwargs.get("device"))
    return not non_blocking and any(isinstance(target, (torch.device, str)) for target in targets)


def waits_of(model: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    batch = batch_for(model, count)
    torch.manual_seed(0)
    with torch.set_grad_enabled(model.training), counted_waits(monkeypatch) as waits:
        model(batch)
    return waits.places


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize(
    ("build", "inference", "training"),
    [
        (mask_rcnn, 1, 3),
        (mask_rcnn_c4, 1, 3),
        (keypoint_rcnn, 1, 3),
        (mask_and_keypoint_rcnn, 1, 4),  # one of them for polygons, see the next test
        (cascade_rcnn, 1, 2),
        (cascade_mask_rcnn, 1, 3),
        (rotated_rcnn, 2, 2),
        (pointrend, 1, 2),
        (tridentnet, 2, 2),
        (panoptic_fpn, 2, 3),
        (retinanet, 1, 0),
        (fcos, 1, 0),
        (proposal_network, 2, 1),
        (semantic_segmentor, 0, 0),
        (panoptic_deeplab, 2, 0),
    ],
)
def test_waits_are_as_few_for_three_images_as_for_one(
    build: Callable[..., Any], inference: int, training: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build()
    for mode, allowed in ((False, inference), (True, training)):
        one, three = (waits_of(model.train(mode), count, monkeypatch) for count in (1, 3))
        assert sorted(three) == sorted(one)
        assert len(one) <= allowed, one


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize(("build", "training"), [(mask_rcnn, 2), (mask_and_keypoint_rcnn, 3)])
def test_for_bitmaps_the_host_does_not_wait(
    build: Callable[..., Any], training: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build().train()
    batch = batch_of(2)
    objects = batch[0]["instances"]  # of all images
    objects.gt_masks = BitMasks.from_polygon_masks(objects.gt_masks, *SIZE)
    with counted_waits(monkeypatch) as waits:
        model(batch)
    assert len(waits.places) == training


@pytest.mark.usefixtures("as_on_a_device")
def test_where_a_detection_is_empty_the_host_asks_once_more_and_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = fcos().eval()
    torch.nn.init.constant_(model.head.bbox_pred.bias, -1.0)  # distances below 0 count as 0
    assert len(waits_of(model, 2, monkeypatch)) == 2
    with torch.no_grad():
        assert [len(found["instances"]) for found in model(batch_of(2))] == [0, 0]


def test_tensors_that_are_copied_or_written_to_are_no_longer_known() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    assert remembered(boxes) is None
    remember(boxes, True)
    assert remembered(boxes) is True
    assert remembered(boxes.clone()) is None
    boxes[0, 2] = 0
    assert remembered(boxes) is None
    with torch.inference_mode():
        inference = torch.tensor([[0.0, 0, 10, 10]])
        remember(inference, True)
        assert remembered(inference) is True


def let_few_proposals_be(model: Any) -> None:
    model.proposal_generator.pre_nms_topk[False], model.proposal_generator.nms_thresh = 8, 0.1


@pytest.mark.usefixtures("as_on_a_device")
def test_heads_of_others_get_proposals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = mask_rcnn().eval()
    let_few_proposals_be(model)
    seen: list[Tensor] = []

    def note(module: Any, arguments: Any) -> None:
        seen.extend(boxes.tensor for boxes in arguments[1])

    model.roi_heads.box_pooler.register_forward_pre_hook(note)
    assert len(waits_of(model, 2, monkeypatch)) == 1
    assert len(seen[0]) == len(seen[1]) == 30
    assert all(boxes.isnan().any() for boxes in seen)
    kind = type(model.roi_heads.box_predictor)
    model.roi_heads.box_predictor.__class__ = type("Mine", (kind,), {})
    assert len(waits_of(model, 2, monkeypatch)) == 2
    assert all(0 < len(boxes) < 30 and boxes.isfinite().all() for boxes in seen[2:])


@pytest.mark.usefixtures("as_on_a_device")
def test_classes_that_were_written_to_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = mask_rcnn().train()
    found: list[Instances] = []

    class Changed(type(model.roi_heads)):  # type: ignore[misc]  # a class found at run time
        def _forward_mask(self, features: Any, instances: list[Instances]) -> Any:
            for image in instances:
                image.gt_classes[0] = self.num_classes
                found.extend(select_foreground_proposals([image], self.num_classes)[0])
            return super()._forward_mask(features, instances)

    assert len(waits_of(model, 1, monkeypatch)) == 3
    model.roi_heads.__class__ = Changed
    assert len(waits_of(model, 1, monkeypatch)) == 5
    assert (found[0].gt_classes < 3).all()


def test_of_the_foreground_nothing_is_known_for_another_background() -> None:
    image = Instances(SIZE, gt_classes=torch.tensor([0, 2, 3, 3]))
    remember(image.gt_classes, (3, 2))
    assert [rows.tolist() for rows in foreground_rows([image], 3)] == [[0, 1]]
    assert [rows.tolist() for rows in foreground_rows([image], 2)] == [[0, 2, 3]]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-300, 300, width=32), min_size=4, max_size=4),
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
def test_boxes_that_remain_are_not_empty_in_any_output(
    corners: list[float], size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    tensor = torch.tensor([corners])
    tensor = torch.cat([tensor[:, :2], tensor[:, :2] + tensor[:, 2:].abs() * 1e-4], dim=1)
    remains = host_waits.sides_remain(tensor, torch.tensor([size]))
    scores, classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    found = Instances(size, pred_boxes=Boxes(tensor), scores=scores, pred_classes=classes)
    if remains.item():
        assert len(detector_postprocess(found, *wanted)) == 1


def test_sides_of_numbers_that_are_not_finite_do_not_remain() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, torch.inf, 9], [0, torch.nan, 9, 9]])
    assert host_waits.sides_remain(boxes, torch.full((3, 2), 10)).tolist() == [True, False, False]
    assert not host_waits.sides_remain(boxes.half()[:1], torch.full((1, 2), 10)).any()


ARCHITECTURES = [
    mask_rcnn,
    mask_rcnn_c4,
    mask_and_keypoint_rcnn,
    cascade_mask_rcnn,
    rotated_rcnn,
    pointrend,
    tridentnet,
    panoptic_fpn,
    retinanet,
    fcos,
]


WITHOUT_PROPOSALS = [retinanet, fcos, panoptic_deeplab]


@pytest.mark.parametrize(
    ("build", "few_proposals"),
    [
        *((build, few) for build in ARCHITECTURES[:-2] for few in (False, True)),
        *((build, False) for build in WITHOUT_PROPOSALS),
    ],
)
def test_a_device_detects_what_the_cpu_detects(
    build: Callable[..., Any], few_proposals: bool, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    model = build().eval()
    if few_proposals:
        let_few_proposals_be(model)
    with torch.no_grad():
        wanted = model(batch_for(model, 2))
        request.getfixturevalue("as_on_a_device")
        got = model(batch_for(model, 2))
    for one, other in zip(got, wanted, strict=True):
        assert len(other["instances"]) > 0
        fields = {name: plain(field) for name, field in one["instances"].get_fields().items()}
        for name, field in other["instances"].get_fields().items():
            torch.testing.assert_close(fields[name], plain(field), rtol=0, atol=0)
        if "panoptic_seg" in other:
            assert torch.equal(one["panoptic_seg"][0], other["panoptic_seg"][0])
            assert one["panoptic_seg"][1] == other["panoptic_seg"][1]
            assert len(other["panoptic_seg"][0].unique()) > 2


def plain(field: Any) -> Tensor:
    tensor: Tensor = getattr(field, "tensor", field)
    return tensor


# PointRend draws points, and TridentNet's gradients vary by percents with the order of regions.
@pytest.mark.parametrize("build", [b for b in ARCHITECTURES if b not in (pointrend, tridentnet)])
def test_a_device_has_the_losses_and_gradients_of_the_cpu(
    build: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    model = build(draw_all=True).train()
    wanted, wanted_gradients = losses_and_gradients(model)
    request.getfixturevalue("as_on_a_device")
    got, gradients = losses_and_gradients(model)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients, wanted_gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spread", [3.0, 10.0, 30.0])  # the further, the more leave the image
def test_a_cascade_leaves_out_on_a_device_what_the_cpu_leaves_out(
    spread: float, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    model = cascade_rcnn(draw_all=True).train()
    for predictor in model.roi_heads.box_predictor:
        torch.nn.init.normal_(predictor.bbox_pred.weight, std=spread)
    model.roi_heads.proposal_matchers = [Matcher([0.05], [0, 1])] * 3
    lengths: list[list[int]] = []
    plain = model.roi_heads._match_and_label_boxes

    def label(proposals: Any, stage: int, targets: Any) -> Any:
        lengths.append([len(image) for image in proposals])
        return plain(proposals, stage, targets)

    monkeypatch.setattr(model.roi_heads, "_match_and_label_boxes", label)
    wanted, wanted_gradients = losses_and_gradients(model, all_count=False)
    request.getfixturevalue("as_on_a_device")
    got, gradients = losses_and_gradients(model, all_count=False)
    assert sum(lengths[0]) > sum(lengths[1])
    assert lengths[2] == lengths[3]
    assert sum(lengths[2]) > sum(lengths[0])
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    for name, gradient in wanted_gradients.items():  # large ones cancel each other in part
        largest = float(gradient.abs().max())
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-3 * largest + 1e-6)


def losses_and_gradients(
    model: Any, all_count: bool = True
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    if hasattr(model, "loss_normalizer"):
        model.loss_normalizer.fill_(100.0)
    model.zero_grad()
    losses = model(batch_for(model, 2))
    assert all(loss.item() > 0 for loss in losses.values()) or not all_count
    sum(losses.values()).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def test_the_counter_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from d2_modeling.batched_selection import rows_where

    with counted_waits(monkeypatch) as waits:
        rows_where([torch.tensor([True, False]), torch.tensor([False, True])])
    assert waits.places == [("batched_selection.py", "rows_where")]
