"""Do the classes of a run's data fit each other and the model?"""

import logging
from collections.abc import Sequence

from d2_data import Metadata
from d2_engine.run.plan import Count, RunPlan

_logger = logging.getLogger(__name__)


def missing_counts(plan: RunPlan, metadata: Metadata) -> dict[str, int]:
    """Return the sizes of the model that are to be taken from the data.

    Args:
        plan: its ``counts`` are looked at.
        metadata: of the training data.

    Returns:
        Option of the config -> size; empty if nothing is open.

    Raises:
        ValueError: if a size is given and differs from the data's, or is open and the data does
            not tell.
    """
    found: dict[str, int] = {}
    for count in plan.counts:
        names = metadata.get(count.field)
        if count.value is not None:
            _check(count, names, metadata)
        elif names is None:
            raise ValueError(
                f"{count.option} is None, which means: as many as the training data has, but the "
                f"data {metadata.name!r} declares no {count.field}"
            )
        else:
            found[count.option] = len(names)
            _logger.info("%s=%d: %s", count.option, len(names), _shown(names))
    return found


def check_enough_classes(plan: RunPlan) -> None:
    """Compare the sizes of the model with the training data of a script of one's own.

    Raises:
        ValueError: if the data has more classes than the model; with fewer there is a warning.
    """
    if plan.train_data is None:
        return
    metadata = plan.train_data.metadata
    for count in plan.counts:
        names = metadata.get(count.field)
        if names is None or count.value is None or count.value == len(names):
            continue
        if count.value < len(names):
            raise ValueError(_difference(count, names, metadata))
        _logger.warning("%s", _difference(count, names, metadata))


def check_counts_known(counts: Sequence[Count]) -> None:
    """Raise ValueError if a size of the model is still to be taken from training data."""
    for count in counts:
        if count.value is None:
            raise ValueError(
                f"{count.option} is None, which means: as many as the training data has. To "
                "predict, give the folder of a training run, whose config has the number"
            )


def check_same_classes(train: Metadata, test: Metadata) -> None:
    """Raise ValueError unless test data has the classes of the training data, in their order."""
    for field in ("thing_classes", "stuff_classes"):
        learned, asked = train.get(field), test.get(field)
        if learned is None or asked is None or list(learned) == list(asked):
            continue
        raise ValueError(
            f"the test data {test.name!r} has the classes {_shown(asked)}, but the training data "
            f"{train.name!r} has {_shown(learned)}: declare the same categories in both, also "
            "those without annotations"
        )


def _check(count: Count, names: Sequence[str] | None, metadata: Metadata) -> None:
    if names is not None and count.value != len(names):
        raise ValueError(_difference(count, names, metadata))


def _difference(count: Count, names: Sequence[str], metadata: Metadata) -> str:
    return (
        f"{count.option} is {count.value}, but the data {metadata.name!r} has {len(names)} "
        f"{count.field} ({_shown(names)}): set {count.option}={len(names)}, or None to take it "
        "from the data"
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
