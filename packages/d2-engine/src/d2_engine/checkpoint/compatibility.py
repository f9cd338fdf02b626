"""Whether a checkpoint belongs to a model, and what to say when it does not."""

import dataclasses
import logging
import math
from collections.abc import Mapping

from torch import Tensor

from d2_modeling.weights import ShapeMismatch, WeightMatch, names_of_nonfinite

logger = logging.getLogger(__name__)

_SHOWN = 12


def check_same_architecture(path: str, match: WeightMatch, *, strict: bool) -> None:
    """Refuse a checkpoint that belongs to another architecture; report lesser differences.

    Loading part of a checkpoint is normal: a backbone, a detector with other classes, some blocks
    of a deeper network, an encoder without its decoder. It is said in a warning. But when no
    tensor finds a place, or in strict mode any is left over or missing, the model is another.

    Raises:
        ValueError: naming the file and the worst mismatches.
    """
    num_fitting = len(match.state_dict)
    num_tensors = num_fitting + len(match.unexpected) + len(match.mismatched)
    if num_tensors == 0:
        raise ValueError(
            f"checkpoint {path!r} holds no weights: fetch it again, or save a state dict under "
            "'model'"
        )
    if num_fitting == 0 or (strict and not match.complete):
        raise ValueError(
            f"checkpoint {path!r} does not fit the model: of its {num_tensors} tensors "
            f"{num_fitting} fit, {len(match.mismatched)} have another shape and "
            f"{len(match.unexpected)} are unknown to the model; {len(match.missing)} tensors of "
            f"the model are not in it.\n{_worst(match)}\nIt was made by a model of another "
            "architecture or number of classes: use it with the config that it was trained with"
        )
    if not match.complete:
        logger.warning("Not all weights of %s and the model agree:\n%s", path, match.report())


def report_nonfinite(path: str, weights: Mapping[str, Tensor]) -> None:
    """Warn of weights that are NaN or infinite; what a model makes of them is no result."""
    names = names_of_nonfinite(weights)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        logger.warning(
            "Checkpoint %s holds NaN or infinity in %d of %d tensors: %s%s. Its training diverged; "
            "take an earlier checkpoint",
            path,
            len(names),
            len(weights),
            ", ".join(names[:_SHOWN]),
            more,
        )


def _worst(match: WeightMatch) -> str:
    """Report the largest differences of each kind."""
    shortened = dataclasses.replace(
        match,
        mismatched=sorted(match.mismatched, key=_size_difference, reverse=True)[:_SHOWN],
        missing=match.missing[:_SHOWN],
        unexpected=match.unexpected[:_SHOWN],
    )
    return shortened.report()


def _size_difference(mismatch: ShapeMismatch) -> int:
    return abs(math.prod(mismatch.model_shape) - math.prod(mismatch.checkpoint_shape))
