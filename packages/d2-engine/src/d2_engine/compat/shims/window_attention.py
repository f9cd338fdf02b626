"""Relative positions of windows by detectron2's names and in its forms."""

from torch import Tensor

from d2_modeling.backbone import absolute_positions, relative_position_bias, relative_positions

__all__ = ["add_decomposed_rel_pos", "get_abs_pos", "get_rel_pos"]

get_abs_pos = absolute_positions
get_rel_pos = relative_positions


def add_decomposed_rel_pos(
    attn: Tensor,
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """The attention with what relative positions add to it."""
    return attn + relative_position_bias(q, rel_pos_h, rel_pos_w, q_size, k_size)
