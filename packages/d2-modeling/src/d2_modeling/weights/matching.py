"""Which weight of a checkpoint belongs to which parameter of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..markdown_table import markdown_table

# Counters that trained batch norms save; frozen ones have none and nobody misses them.
_COUNTER = "num_batches_tracked"


class ShapeMismatch(NamedTuple):
    """A weight that has the right name and the wrong shape."""

    name: str
    model_shape: tuple[int, ...]
    checkpoint_shape: tuple[int, ...]


@dataclass(frozen=True)
class WeightMatch:
    """What of a checkpoint fits a model.

    Attributes:
        state_dict: values that fit, by the model's names; ready for ``load_state_dict``
            with ``strict=False``.
        source_names: for each of those the checkpoint's name.
        missing: the model's names that the checkpoint has nothing for.
        unexpected: the checkpoint's names that the model has no use for.
        mismatched: weights with the right name and another shape.
    """

    state_dict: dict[str, Tensor]
    source_names: dict[str, str]
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[ShapeMismatch] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every weight on both sides found its partner."""
        return not (self.missing or self.unexpected or self.mismatched)

    def report(self) -> str:
        """Say in a table what fits and what does not; empty if everything fits."""
        if self.complete:
            return ""
        rows = [("weights", "model", "checkpoint", "what is done")]
        count = len(self.state_dict)
        rows.append((f"{count} that fit", "", "", "taken from the checkpoint"))
        rows += [
            (one.name, str(one.model_shape), str(one.checkpoint_shape), "shapes differ: not loaded")
            for one in self.mismatched
        ]
        missing = "not in the checkpoint (kept as initialised)"
        rows += [(name, "there", "", missing) for name in _grouped(self.missing)]
        unexpected = "not in the model (not used)"
        rows += [(name, "", "there", unexpected) for name in _grouped(self.unexpected)]
        return markdown_table(rows)


def match_weights(
    model_state: Mapping[str, Tensor],
    checkpoint: Mapping[str, Tensor],
    *,
    by_suffix: bool = False,
) -> WeightMatch:
    """Find for each weight of a model its value in a checkpoint.

    Args:
        model_state: the model's ``state_dict()``.
        checkpoint: tensors by name.
        by_suffix: also match a checkpoint's name that is the end of the model's, cut at a
            dot: ``res2.0.conv1.weight`` fits ``backbone.bottom_up.res2.0.conv1.weight``.
            The longest such name wins. For backbones put into detectors.

    Returns:
        The values that fit, and what does not.

    Raises:
        ValueError: if one weight of the checkpoint fits several of the model.
    """
    partners = {
        name: partner
        for name in model_state
        if (partner := _partner(name, checkpoint, by_suffix)) is not None
    }
    _check_unambiguous(partners)
    state_dict, mismatched = {}, []
    for name, partner in partners.items():
        wanted, value = model_state[name], checkpoint[partner]
        if wanted.shape == value.shape:
            state_dict[name] = value
        else:
            mismatched.append(ShapeMismatch(name, tuple(wanted.shape), tuple(value.shape)))
    used = set(partners.values())
    return WeightMatch(
        state_dict=state_dict,
        source_names={name: partners[name] for name in state_dict},
        missing=[
            n
            for n in model_state
            if n not in partners
            and not n.endswith(_COUNTER)
            and not _is_in_scale_and_shift(n, model_state, partners)
        ],
        unexpected=[n for n in checkpoint if n not in used and not n.endswith(_COUNTER)],
        mismatched=mismatched,
    )


def _partner(name: str, checkpoint: Mapping[str, Tensor], by_suffix: bool) -> str | None:
    """The longest of the model name's dotted endings that the checkpoint has."""
    while name not in checkpoint:
        _, dot, name = name.partition(".")
        if not dot or not by_suffix:
            return None
    return name


def _is_in_scale_and_shift(
    name: str, model_state: Mapping[str, Tensor], partners: Mapping[str, str]
) -> bool:
    """Whether a frozen norm's statistics are absent because they are part of scale and shift.

    So it is in old ImageNet files, which hold neither mean nor variance. A norm that is trained
    has a counter, and misses them.
    """
    module, _, leaf = name.rpartition(".")
    both = {f"{module}.running_mean", f"{module}.running_var"}
    return (
        leaf in ("running_mean", "running_var")
        and not both & partners.keys()
        and {f"{module}.weight", f"{module}.bias"} <= partners.keys()
        and f"{module}.{_COUNTER}" not in model_state
    )


def _check_unambiguous(partners: Mapping[str, str]) -> None:
    users = defaultdict(list)
    for name, partner in partners.items():
        users[partner].append(name)
    for partner, names in users.items():
        if len(names) > 1:
            raise ValueError(
                f"the checkpoint's {partner!r} fits several weights of the model: {names}. "
                "Rename the checkpoint's weights to say which is meant"
            )


def _grouped(names: Iterable[str]) -> list[str]:
    """One line per module: ``fpn_lateral2.{bias, weight}``."""
    leaves: dict[str, list[str]] = defaultdict(list)
    for name in names:
        module, _, leaf = name.rpartition(".")
        leaves[module].append(leaf)
    return [
        f"{module + '.' if module else ''}"
        + (f"{{{', '.join(sorted(group))}}}" if len(group) > 1 else group[0])
        for module, group in leaves.items()
    ]
