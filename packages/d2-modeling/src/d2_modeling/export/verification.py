"""Comparing a file with the model that it came from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from d2_structures import ImageList

from ..image_checks import image_of, picture_of
from .detection_pairs import Pairs, paired
from .graph import ExportableModel
from .runtimes import reason_of

__all__ = [
    "COARSE",
    "EXACT",
    "NEAR",
    "Differences",
    "Tolerances",
    "check_artefact",
    "example_of",
    "pictures_of",
    "table_of",
]

_logger = logging.getLogger(__name__)

Differences: TypeAlias = dict[str, dict[str, float]]
"""For each case the largest difference of each output."""


class Tolerances(NamedTuple):
    """How far a file may be from its model.

    Attributes:
        outputs: largest difference of each output, of detections that are the same in both;
            pixels for boxes and keypoints. Boxes that differ by more are no longer the same.
        unmatched: share of detections that may be there in one and not in the other, for
            candidates that score almost alike were chosen in another order.
        few: so many of each side may be in any case.
        unexplained: share of those of which that is no explanation, see `paired`; a ``few`` may
            be in any case.
        on_average: compare scores by the mean over detections, and masks by that over their
            pixels: one thing may look like another, and where an edge has moved, a pixel differs
            by all that it can.
    """

    outputs: Mapping[str, float]
    unmatched: float = 0.05
    few: int = 1
    unexplained: float = 0.0
    on_average: bool = False


EXACT = Tolerances(
    {
        "boxes": 0.1,
        "scores": 1e-3,
        "classes": 0.0,
        "batch_index": 0.0,
        "mask_probabilities": 0.02,
        "keypoints": 2.0,
        "sem_seg": 0.02,
    }
)
"""Other programs add up in another order."""

NEAR = Tolerances(
    {
        **EXACT.outputs,
        "boxes": 1.0,
        "scores": 0.02,
        "mask_probabilities": 0.05,
        "keypoints": 4.0,
        "sem_seg": 0.1,
    },
    unmatched=0.1,
    few=2,
)
"""Of the values of a resized picture some differ by 1, of 255; float16 has 11 bits."""

COARSE = Tolerances(
    {
        **EXACT.outputs,
        "boxes": 16.0,
        "scores": 0.25,
        "mask_probabilities": 0.4,
        "keypoints": 64.0,
        "sem_seg": 4.0,
    },
    unmatched=0.4,
    few=4,
    unexplained=0.4,
    on_average=True,
)
"""Of int8: enough to find a file that is broken. How good it is, an evaluation says."""

_SAME_SCORE = 1e-5
"""Scores that differ by less may come in either order: kernels round them otherwise."""

_EMPTY = "no detection"
_BLANK = (0, 128, 255)
_NO_EXAMPLE = "exporting needs at least one example image, got none"


def example_of(model: Any, inputs: Iterable[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
    """Images and sizes as an exported graph takes them, two at least.

    Raises:
        ValueError: without images, or if one is none that the model takes.
    """
    channels = len(model.pixel_mean)
    images = [
        image_of(entry, i, channels).to(model.device).float() for i, entry in enumerate(inputs)
    ]
    if not images:
        raise ValueError(_NO_EXAMPLE)
    return _padded(images * 2 if len(images) == 1 else images)


def pictures_of(model: Any, inputs: Iterable[Mapping[str, Any]]) -> tuple[Tensor]:
    """A picture and its mirror image, as a graph takes them that resizes pictures itself.

    Raises:
        ValueError: without images, or if one is no picture that the model takes.
    """
    first = next(iter(inputs), None)
    if first is None:
        raise ValueError(_NO_EXAMPLE)
    picture = picture_of(first, 0, len(model.pixel_mean)).to(model.device)
    return (torch.stack([picture, picture.flip(2)]),)


def _padded(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    batch = ImageList.from_tensors(list(images))
    return batch.tensor, torch.tensor(batch.image_sizes, device=batch.device)


def _cases(graph: ExportableModel, example: Sequence[Tensor]) -> dict[str, Sequence[Tensor]]:
    if len(example) == 1:
        return _cases_of_pictures(graph, example[0])
    images = [
        image[:, :height, :width]
        for image, (height, width) in zip(example[0], example[1].tolist(), strict=True)
    ]
    nothing = torch.zeros_like(example[1])
    return {
        "the example": example,
        "higher images": _padded([_resized(image, 1.4, 0.8) for image in images]),
        "wider images": _padded([_resized(image, 0.7, 1.3) for image in images]),
        _EMPTY: (torch.zeros_like(example[0]), nothing),
        "one image": _padded(images[:1]),
        "more images": _padded([*images, _resized(images[0], 0.9, 0.6)]),
    }


def _cases_of_pictures(graph: ExportableModel, pictures: Tensor) -> dict[str, Sequence[Tensor]]:
    def stretched(by_height: float, by_width: float) -> Tensor:
        parts = [_resized(each.float(), by_height, by_width) for each in pictures]
        return torch.stack(parts).round().clamp(0, 255).to(torch.uint8)

    return {
        "the example": (pictures,),
        "higher images": (stretched(1.4, 0.8),),
        "wider images": (stretched(0.7, 1.3),),
        "small images": (stretched(0.4, 0.5),),
        _EMPTY: (_blank(graph, pictures),),
        "one image": (pictures[:1],),
        "more images": (torch.cat([pictures, pictures[:1].flip(2)]),),
    }


def _blank(graph: ExportableModel, pictures: Tensor) -> Tensor:
    """Pictures of one colour, if possible one in which nothing is found."""
    for value in _BLANK:
        blank = torch.full_like(pictures, value)
        found = dict(zip(graph.output_names, graph.expected(blank), strict=True))
        if not len(found.get("scores", ())):
            break
    return blank


def _resized(image: Tensor, by_height: float, by_width: float) -> Tensor:
    size = [max(1, round(image.shape[1] * by_height)), max(1, round(image.shape[2] * by_width))]
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]


def check_artefact(
    graph: ExportableModel,
    run: Callable[..., Sequence[Tensor]],
    example: Sequence[Tensor],
    *,
    what: str,
    tolerances: Tolerances = EXACT,
    strict: bool = True,
) -> Differences:
    """Run the model and a file of it on several inputs.

    Args:
        graph: the model.
        run: calls the file.
        example: the tensors of the inputs.
        what: the file, for messages.
        tolerances: what is not too large.
        strict: refuse what is; otherwise it is logged as a warning.

    Returns:
        The largest differences.

    Raises:
        ValueError: naming case and output, if one is too large or the file does not run.
    """
    complain: Callable[[str], None] = _refuse if strict else _warn
    differences: Differences = {}
    for case, inputs in _cases(graph, example).items():
        wanted = dict(zip(graph.output_names, graph.expected(*inputs), strict=True))
        try:
            outputs = run(*inputs)
        except Exception as error:  # of classes that the runtimes do not publish
            raise ValueError(f"{what} fails on {case}: {reason_of(error)}") from error
        if len(outputs) != len(graph.output_names):
            raise ValueError(
                f"{what} on {case} gives {len(outputs)} outputs, not {len(graph.output_names)}"
            )
        got = dict(zip(graph.output_names, (o.to(inputs[0].device) for o in outputs), strict=True))
        where = f"{what} on {case}"
        differences[case] = found = _compared(wanted, got, tolerances, where, complain)
        nothing = case == _EMPTY and not len(wanted.get("scores", ()))
        if nothing and len(got.get("scores", ())):
            complain(f"{what} finds {len(got['scores'])} things in images without any")
        bad = {
            name: value
            for name, value in found.items()
            if name != "boxes" and not value <= tolerances.outputs[name]
        }
        if bad:
            complain(f"{what} differs from the model on {case}: {bad}")
    return differences


def _compared(
    wanted: dict[str, Tensor],
    got: dict[str, Tensor],
    tolerances: Tolerances,
    where: str,
    complain: Callable[[str], None],
) -> dict[str, float]:
    found: dict[str, float] = {}
    if "boxes" in wanted:
        pairs = paired(
            wanted,
            got,
            within=tolerances.outputs["boxes"],
            score_margin=tolerances.outputs["scores"],
        )
        count = len(wanted["scores"]) + len(got["scores"])
        reason = _too_many_alone(pairs, count, tolerances)
        if reason is not None:
            complain(f"{where} differs from the model: {reason}")
        if _is_in_order(wanted) and not _is_in_order(got):
            complain(f"{where} does not give detections by image and decreasing score")
        for name in wanted.keys() - {"sem_seg"}:
            of_both = wanted[name][pairs.rows], got[name][pairs.columns]
            if tolerances.on_average and name in ("scores", "mask_probabilities"):
                of_both = _averaged(*of_both, by_row=name != "scores")
            found[name] = _largest(*of_both)
    if "sem_seg" in wanted:
        found["sem_seg"] = _largest(wanted["sem_seg"], got["sem_seg"])
    return {name: found[name] for name in wanted}


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message}; strict=False (d2 export --keep-different) keeps it nevertheless")


def _warn(message: str) -> None:
    _logger.warning("%s", message)


def _too_many_alone(pairs: Pairs, count: int, tolerances: Tolerances) -> str | None:
    most = max(tolerances.few, tolerances.unexplained * count)
    if pairs.unexplained > most:
        return (
            f"{pairs.unexplained} of both sides' {count} detections have no partner, nor a rival, "
            f"on the other; {most:.0f} may"
        )
    most = max(2 * tolerances.few, tolerances.unmatched * count)
    if pairs.alone > most:
        return (
            f"{pairs.alone} of both sides' {count} detections have no partner within "
            f"{tolerances.outputs['boxes']:g} pixels, of the same class, on the other; {most:.0f} "
            "may"
        )
    return None


def _is_in_order(found: Mapping[str, Tensor]) -> bool:
    """Whether detections come by image, and within an image by decreasing score."""
    index, scores = found["batch_index"], found["scores"]
    rises = (index.diff() == 0) & (scores.diff() > _SAME_SCORE)
    return not bool((rises | (index.diff() < 0)).any())


def _averaged(wanted: Tensor, got: Tensor, *, by_row: bool) -> tuple[Tensor, Tensor]:
    """The mean difference, of each row or of all, and what it should be."""
    if wanted.shape != got.shape or wanted.numel() == 0:
        return wanted, got
    difference = (wanted.double() - got.double()).abs()
    mean = difference.flatten(1).mean(1) if by_row else difference.mean()
    return torch.zeros_like(mean), mean


def _largest(wanted: Tensor, got: Tensor) -> float:
    if wanted.shape != got.shape:
        return torch.inf
    if wanted.numel() == 0:
        return 0.0
    return float((wanted.double() - got.double()).abs().max())


def table_of(differences: Differences) -> str:
    """The largest differences as lines of text."""
    names = list(next(iter(differences.values())))
    lines = ["largest differences  " + "  ".join(f"{name:>18}" for name in names)]
    for case, found in differences.items():
        lines.append(f"{case:<19}  " + "  ".join(f"{found[name]:>18.2g}" for name in names))
    return "\n".join(lines)
