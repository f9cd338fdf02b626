"""Names of weights brought together by functions; d2's checkpointer does so while it loads."""

from typing import Any, NamedTuple

from torch import Tensor

from d2_modeling.weights import convert_caffe2_backbone, match_weights


class _IncompatibleKeys(NamedTuple):
    """What of a checkpoint did not fit."""

    missing_keys: list[str]
    unexpected_keys: list[str]
    incorrect_shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]]


def _strip_prefix_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Cut a prefix off the names, in place, if all have it."""
    if not state_dict or not all(name.startswith(prefix) for name in state_dict):
        return
    for name in [*state_dict]:
        state_dict[name[len(prefix) :]] = state_dict.pop(name)


def align_and_update_state_dicts(
    model_state_dict: dict[str, Tensor],
    ckpt_state_dict: dict[str, Any],
    c2_conversion: bool = True,
) -> dict[str, Any]:
    """Give a checkpoint's weights the names that the model has for them, by equal ends of names.

    Args:
        model_state_dict: of the model.
        ckpt_state_dict: weights by other names.
        c2_conversion: whether those are names of Caffe2.

    Returns:
        Weights by the model's names where there is one, by their own elsewhere.
    """
    weights = convert_caffe2_backbone(ckpt_state_dict) if c2_conversion else dict(ckpt_state_dict)
    match = match_weights(model_state_dict, weights, by_suffix=True)
    return {name: weights[name] for name in match.unexpected} | match.state_dict
