"""Functions of training progress: what a hyper-parameter is worth at a point of the run.

Progress ``where`` runs from 0 (first iteration) to 1 (end of training), so a schedule
does not depend on how many iterations a run has.
"""

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

WHERE_TOLERANCE = 1e-6


class ParamScheduler(ABC):
    """A value as a function of training progress in [0, 1]."""

    @abstractmethod
    def __call__(self, where: float) -> float:
        """Return the value at progress ``where`` (0 <= where <= 1)."""

    def __repr__(self) -> str:
        """Name the schedule with its settings."""
        settings = {
            name.removeprefix("_"): value
            for name, value in vars(self).items()
            if isinstance(value, (int, float, str, list, tuple, ParamScheduler))
        }
        shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}({shown})"


class ConstantParamScheduler(ParamScheduler):
    """The same value throughout."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __call__(self, where: float) -> float:
        _check_progress(where)
        return self._value


class LinearParamScheduler(ParamScheduler):
    """A straight line from ``start_value`` to ``end_value``."""

    def __init__(self, start_value: float, end_value: float) -> None:
        self._start_value = start_value
        self._end_value = end_value

    def __call__(self, where: float) -> float:
        # Interpolating from both ends hits `end_value` exactly at where == 1.
        return self._end_value * where + self._start_value * (1 - where)


class CosineParamScheduler(ParamScheduler):
    """Half a cosine wave from ``start_value`` down (or up) to ``end_value``.

    Source: Loshchilov and Hutter, "SGDR", 2017, without restarts.
    """

    def __init__(self, start_value: float, end_value: float) -> None:
        self._start_value = start_value
        self._end_value = end_value

    def __call__(self, where: float) -> float:
        amplitude = 0.5 * (self._start_value - self._end_value)
        return self._end_value + amplitude * (1 + math.cos(math.pi * where))


class ExponentialParamScheduler(ParamScheduler):
    """``start_value * decay ** where``: ``decay`` is the factor over the whole run."""

    def __init__(self, start_value: float, decay: float) -> None:
        self._start_value = start_value
        self._decay = decay

    def __call__(self, where: float) -> float:
        return self._start_value * self._decay**where


class PolynomialDecayParamScheduler(ParamScheduler):
    """``base_value * (1 - where) ** power``."""

    def __init__(self, base_value: float, power: float) -> None:
        self._base_value = base_value
        self._power = power

    def __call__(self, where: float) -> float:
        return self._base_value * (1 - where) ** self._power


class StepParamScheduler(ParamScheduler):
    """``values`` one after the other, each for an equal share of the run.

    Args:
        num_updates: iterations of the run; only has to be positive.
        values: the value of each share, in order.
    """

    def __init__(self, num_updates: float, values: Sequence[float]) -> None:
        if num_updates <= 0:
            raise ValueError(f"num_updates must be positive, got {num_updates}")
        if not values:
            raise ValueError("StepParamScheduler needs at least one value, got none")
        self._values = list(values)

    def __call__(self, where: float) -> float:
        index = int((where + WHERE_TOLERANCE) * len(self._values))
        return self._values[min(index, len(self._values) - 1)]


class MultiStepParamScheduler(ParamScheduler):
    """A new value at each milestone.

    Args:
        values: N + 1 values for N milestones.
        num_updates: iterations of the run. If omitted, the last milestone is taken to
            be the end of training, and there are as many values as milestones.
        milestones: increasing iterations at which the next value starts; equally
            spaced over ``num_updates`` when omitted.

    Raises:
        ValueError: if the counts do not fit or the milestones are not increasing.
    """

    def __init__(
        self,
        values: Sequence[float],
        num_updates: int | None = None,
        milestones: Sequence[int] | None = None,
    ) -> None:
        if milestones is None:
            if num_updates is None:
                raise ValueError("MultiStepParamScheduler needs `num_updates` or `milestones`")
            share = num_updates / max(len(values), 1)
            milestones = [math.ceil(share * (i + 1)) for i in range(len(values) - 1)]
        elif num_updates is None:
            if not milestones:
                raise ValueError("with no `num_updates`, `milestones` must end with the last one")
            *milestones, num_updates = milestones

        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"milestones must be increasing, got {list(milestones)}")
        if milestones and not 0 < milestones[-1] < num_updates:
            raise ValueError(
                f"milestones must lie before num_updates={num_updates}, got {list(milestones)}"
            )
        if len(values) != len(milestones) + 1:
            raise ValueError(
                f"{len(milestones)} milestones before iteration {num_updates} need "
                f"{len(milestones) + 1} values, got {len(values)}"
            )
        self._values = list(values)
        self._milestones = list(milestones)
        self._num_updates = num_updates

    def __call__(self, where: float) -> float:
        # where = iteration / num_updates need not come back as the same integer.
        iteration = math.floor(where * self._num_updates + WHERE_TOLERANCE)
        return self._values[bisect.bisect_right(self._milestones, iteration)]


class StepWithFixedGammaParamScheduler(ParamScheduler):
    """Multiply by ``gamma`` at ``num_decays`` equally spaced iterations.

    Args:
        base_value: value before the first decay.
        num_decays: number of decays; the run is cut into ``num_decays + 1`` equal parts.
        gamma: the factor.
        num_updates: iterations of the run.
    """

    def __init__(self, base_value: float, num_decays: int, gamma: float, num_updates: int) -> None:
        for name, value in (("base_value", base_value), ("gamma", gamma)):
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if num_decays < 0:
            raise ValueError(f"num_decays must not be negative, got {num_decays}")
        values = [base_value]
        for _ in range(num_decays):
            values.append(values[-1] * gamma)
        self._steps = MultiStepParamScheduler(values, num_updates=num_updates)

    def __call__(self, where: float) -> float:
        return self._steps(where)


class CompositeParamScheduler(ParamScheduler):
    """Several schedules one after the other.

    Args:
        schedulers: the schedules in order.
        lengths: the share of the run of each; they add up to 1.
        interval_scaling: for each schedule, ``"rescaled"`` if it runs from its own 0 to
            its own 1 within its share, ``"fixed"`` if it sees the progress of the whole run.

    Raises:
        ValueError: if the three lists differ in length, or a share or a scaling is wrong.
    """

    def __init__(
        self,
        schedulers: Sequence[ParamScheduler],
        lengths: Sequence[float],
        interval_scaling: Sequence[str],
    ) -> None:
        if not len(schedulers) == len(lengths) == len(interval_scaling) > 0:
            raise ValueError(
                "CompositeParamScheduler needs as many lengths and scalings as schedulers, got "
                f"{len(schedulers)} schedulers, {len(lengths)} lengths, "
                f"{len(interval_scaling)} scalings"
            )
        if abs(sum(lengths) - 1) > 1e-3 or min(lengths) < 0:
            raise ValueError(f"lengths must be shares that add up to 1, got {list(lengths)}")
        unknown = set(interval_scaling) - {"rescaled", "fixed"}
        if unknown:
            raise ValueError(f"a scaling is 'rescaled' or 'fixed', got {sorted(unknown)}")
        self._schedulers = list(schedulers)
        self._lengths = list(lengths)
        self._scaling = list(interval_scaling)

    def __call__(self, where: float) -> float:
        index, start = 0, 0.0
        last = len(self._schedulers) - 1
        while index < last and where + WHERE_TOLERANCE >= start + self._lengths[index]:
            start += self._lengths[index]
            index += 1
        if self._scaling[index] == "rescaled" and self._lengths[index] > 0:
            where = min(max((where - start) / self._lengths[index], 0.0), 1.0)
        return self._schedulers[index](where)


def _check_progress(where: float) -> None:
    if where > 1 + WHERE_TOLERANCE:
        raise RuntimeError(f"training progress must lie in [0, 1], got {where}")
