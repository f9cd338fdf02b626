"""Which weight of a checkpoint belongs to which parameter of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

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
        """Say in a few lines what did not fit; empty if everything did."""
        lines = []
        if self.mismatched:
            lines.append("shapes differ (kept as initialised):")
            lines += [
                f"  {m.name}: model {m.model_shape}, checkpoint {m.checkpoint_shape}"
                for m in self.mismatched
            ]
        if self.missing:
            lines.append("not in the checkpoint (kept as initialised):")
            lines += _grouped(self.missing)
        if self.unexpected:
            lines.append("in the checkpoint, not in the model (not used):")
            lines += _grouped(self.unexpected)
        return "\n".join(lines)


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
        missing=[n for n in model_state if n not in partners and not n.endswith(_COUNTER)],
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
        f"  {module + '.' if module else ''}"
        + (f"{{{', '.join(sorted(group))}}}" if len(group) > 1 else group[0])
        for module, group in leaves.items()
    ]
