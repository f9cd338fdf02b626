"""Averaged weights (EMA) that a training run left in its checkpoints."""

from collections.abc import Mapping
from typing import Any

AVERAGED_WEIGHTS = "averaged_weights"
"""Key of the averaged parameters in the state of the hook that keeps them."""


def ema_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the averaged weights that a checkpoint holds beside the model's own.

    Args:
        checkpoint: content of a file that a run with the hook ``EMA`` wrote, or of any other.

    Returns:
        A state dict of the whole model: averaged parameters, and the model's buffers. None if
        the checkpoint has no averages.
    """
    for part in checkpoint.values():
        hooks = part.get("hooks") if isinstance(part, Mapping) else None
        for state in hooks.values() if isinstance(hooks, Mapping) else ():
            if isinstance(state, Mapping) and AVERAGED_WEIGHTS in state:
                return {**checkpoint["model"], **state[AVERAGED_WEIGHTS]}
    return None
