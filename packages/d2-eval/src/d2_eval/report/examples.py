"""Which errors are shown as pictures, and the pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from d2_data.detection_utils import read_image
from d2_eval.report.analysis.compared import Compared, Floats, Integers, ranks_in_runs
from d2_eval.report.analysis.errors import CORRECT, KINDS, MISSED, Errors
from d2_eval.report.analysis.label_errors import Suspicion
from d2_eval.report.analysis.operating_point import Outcome
from d2_ops.host import rle_decode
from d2_structures.visualizer import Visualizer

# The same as in the legend of the page: what is annotated, predicted, and annotated nearby.
_TRUTH, _FOUND, _OTHER = (46, 196, 140), (255, 122, 60), (214, 220, 228)
_LINE_WIDTHS = {_TRUTH: 3, _FOUND: 3, _OTHER: 1}

_MASK_OPACITY = 0.4
_LONGER_SIDE = 400
_LEAST_CROP = 96.0
_CONTEXT = 0.55
_PAPER = 236
_QUALITY = 80
_SHARE_OF_HITS = 8


class Example(NamedTuple):
    """An error, or a hit, that is worth a picture.

    Attributes:
        kind: ``"correct"`` or one of the kinds of errors.
        image: place of the image.
        detection: its place among the predictions, -1 for none.
        truth: its place among the objects, -1 for none.
        cell: of the confusions that it counts in: class, and which it was taken for.
        suspicion: why the annotation rather than the prediction may be wrong; "" for no reason.
        of_other: whether the prediction is one of the run that is compared with.
    """

    kind: str
    image: int
    detection: int
    truth: int
    cell: tuple[int, int]
    suspicion: str = ""
    of_other: bool = False


def choose_examples(
    both: Compared,
    errors: Errors,
    result: Outcome,
    suspicions: Sequence[Suspicion],
    most: int,
) -> list[Example]:
    """The worst of each pair of classes and kind of error, as many as there is room for.

    Args:
        both: annotations and predictions.
        errors: of the predictions.
        result: what a user sees.
        suspicions: a third of the room is theirs.
        most: how many examples there may be.
    """
    reasons = {(one.detection, one.truth): one.kind for one in suspicions}
    rows = {
        (int(d), int(t) if d < 0 else -1): row
        for row, (d, t) in enumerate(zip(result.detections, result.truths, strict=True))
    }
    kinds, severity = _kinds(errors, result), _severity(both, result)
    chosen: dict[int, None] = {}
    for place in _shared_out([one.kind for one in suspicions], most // 3):
        one = suspicions[place]
        chosen[rows[one.detection, one.truth if one.detection < 0 else -1]] = None
    ranked = _worst_of_each_cell(kinds, severity, result, len(both.class_names))
    wrong = [row for row in ranked if kinds[row] != CORRECT]
    right = [row for row in ranked if kinds[row] == CORRECT]
    few = min(len(right), most // _SHARE_OF_HITS)
    for row in [*wrong[: max(most - few - len(chosen), 0)], *right, *wrong]:
        if len(chosen) >= most:
            break
        chosen[row] = None
    examples = []
    for row in chosen:
        detection, truth = int(result.detections[row]), int(result.truths[row])
        if detection >= 0 and truth < 0:
            truth = int(errors.partners[detection])
        place = both.truths.images[truth] if detection < 0 else both.detections.images[detection]
        examples.append(
            Example(
                "correct" if kinds[row] == CORRECT else KINDS[kinds[row]],
                int(place),
                detection,
                truth,
                (int(result.truth_classes[row]), int(result.found_classes[row])),
                reasons.get((detection, truth), reasons.get((detection, -1), "")),
            )
        )
    return sorted(examples, key=lambda one: -_weight(both, one))


def _worst_of_each_cell(
    kinds: Integers, severity: Floats, result: Outcome, classes: int
) -> list[int]:
    """Rows, the worst of each kind and pair of classes first, then the next ones of each.

    Two of what is right are enough.
    """
    groups = ((kinds + 1) * (classes + 1) + result.truth_classes) * (classes + 1)
    groups = groups + result.found_classes
    order = np.lexsort((-severity, groups))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = ranks_in_runs(groups[order])
    right = kinds == CORRECT
    ranked = np.lexsort((-severity, ranks))
    rows: list[int] = ranked[~right[ranked] | (ranks[ranked] < 2)].tolist()
    return rows


def _severity(both: Compared, result: Outcome) -> Floats:
    """The score of what was predicted, or the share of its image's largest of what was missed."""
    truths = np.r_[np.sqrt(both.truths.areas), 0.0][result.truths]
    scores = np.r_[both.detections.scores, 0.0][result.detections]
    largest = max(float(truths.max(initial=0.0)), 1.0)
    severity: Floats = np.where(result.detections >= 0, scores, truths / largest)
    return severity


def _kinds(errors: Errors, result: Outcome) -> Integers:
    kinds: Integers = np.r_[errors.kinds, MISSED][result.detections]  # -1 finds the last
    return kinds


def _weight(both: Compared, one: Example) -> float:
    if one.detection >= 0:
        return float(both.detections.scores[one.detection])
    height_width = both.truths.boxes[one.truth, 2:]
    image = both.images[one.image]
    whole = float(image.get("width") or 0) * float(image.get("height") or 0)
    return float(height_width.prod() / whole) if whole else 0.0


def _shared_out(kinds: Sequence[str], most: int) -> list[int]:
    """Places of the first of each kind in turn."""
    by_kind: dict[str, list[int]] = {}
    for place, kind in enumerate(kinds):
        by_kind.setdefault(kind, []).append(place)
    longest = max(map(len, by_kind.values()), default=0)
    in_turn = [of[rank] for rank in range(longest) for of in by_kind.values() if rank < len(of)]
    return in_turn[:most]


def drawn_examples(
    both: Compared,
    other: Compared | None,
    examples: Iterable[Example],
    paths: Mapping[int, Path],
    most_bytes: int,
) -> list[str]:
    """JPEG files of the examples as base64 text, "" once they fill the room.

    Each shows a part of its image, with the annotated object, the prediction, and the outlines of
    other annotated objects.

    Args:
        both: annotations and predictions.
        other: annotations and predictions of the run that is compared with.
        examples: to be drawn, those that are most important first.
        paths: of the images that were found.
        most_bytes: of all texts together.
    """
    texts = []
    left = most_bytes
    for one in examples:
        source = other if one.of_other and other is not None else both
        text = _drawn(source, one, paths.get(one.image)) if left > 0 else ""
        left -= len(text)
        texts.append(text if left > 0 else "")
    return texts


def _drawn(both: Compared, one: Example, path: Path | None) -> str:
    from PIL import Image

    objects = _objects(both, one)
    image = _image(both, one, path)
    subjects = np.array([o.corners for o in objects if o.color != _OTHER])
    left, top, right, bottom = _crop(subjects, image.shape[:2])
    part = image[top:bottom, left:right]
    scale = _LONGER_SIDE / max(part.shape[:2])
    visualizer = Visualizer(part, None, scale)
    masked = [o for o in objects if o.mask is not None]
    visualizer.overlay_instances(
        masks=[rle_decode(o.mask)[top:bottom, left:right] for o in masked],
        assigned_colors=[_unit(o.color) for o in masked],
        alpha=_MASK_OPACITY,
    )
    for o in objects:
        for inset in range(_LINE_WIDTHS[o.color]):
            grown = np.array([inset, inset, -inset, -inset]) / scale
            box = o.corners - [left, top, left, top] + grown
            visualizer.draw_box(box, alpha=0.9, edge_color=_unit(o.color))
    buffer = io.BytesIO()
    drawn = visualizer.get_output().get_image()
    Image.fromarray(drawn).save(buffer, format="JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255


def _image(both: Compared, one: Example, path: Path | None) -> np.ndarray:
    """The image; where it cannot be read, an empty sheet of its size."""
    if path is not None:
        try:
            return read_image(path, format="RGB")
        except (OSError, ValueError):
            pass
    entry = both.images[one.image]
    height, width = entry.get("height"), entry.get("width")
    if not height or not width:
        corners = np.array([o.corners for o in _objects(both, one)])
        width, height = np.ceil(corners[:, 2:].max(axis=0)).astype(int) + 1
    return np.full((int(height), int(width), 3), _PAPER, np.uint8)


class _Drawn(NamedTuple):
    """An object in a picture: its box by two corners, its run lengths if any, and its colour."""

    corners: Floats
    mask: Any
    color: tuple[int, int, int]


def _objects(both: Compared, one: Example) -> list[_Drawn]:
    """What is in a picture; what matters most comes last, on top."""
    truths, detections = both.truths, both.detections
    members = range(*np.searchsorted(truths.images, [one.image, one.image + 1]).tolist())
    drawn = [
        _Drawn(_corners(truths.boxes[i]), None, _OTHER)
        for i in members
        if i != one.truth and not truths.crowd[i]
    ]
    for source, index, color in (
        (truths, one.truth, _TRUTH),
        (detections, one.detection, _FOUND),
    ):
        if index >= 0:
            mask = None if source.masks is None else source.masks[index]
            drawn.append(_Drawn(_corners(source.boxes[index]), mask, color))
    return drawn


def _corners(box: Floats) -> Floats:
    corners: Floats = np.r_[box[:2], box[:2] + box[2:]]
    return corners


def _crop(boxes: Floats, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part with room around the boxes."""
    height, width = size
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    sides = high - low
    margin = np.maximum(_CONTEXT * sides.max(), (_LEAST_CROP - sides) / 2)
    margin = np.maximum(margin, 8)
    left, top = np.maximum(np.floor(low - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + margin), [width, height]).astype(int)
    if right - left < 2 or bottom - top < 2:  # an object beside its image
        return 0, 0, width, height
    return int(left), int(top), int(right), int(bottom)
