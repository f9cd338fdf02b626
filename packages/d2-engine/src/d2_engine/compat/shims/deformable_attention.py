"""``MultiScaleDeformableAttention``: the compiled functions that such projects build themselves."""

import torch
from torch import Tensor

from d2_ops import multi_scale_deformable_attention

__all__ = ["ms_deform_attn_backward", "ms_deform_attn_forward"]


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """`d2_ops.multi_scale_deformable_attention`; levels begin where the one before ends."""
    return multi_scale_deformable_attention(
        value, spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    im2col_step: int,
) -> tuple[Tensor, ...]:
    """The gradients of value, locations and weights."""
    inputs = [
        tensor.detach().requires_grad_()
        for tensor in (value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = multi_scale_deformable_attention(inputs[0], spatial_shapes, inputs[1], inputs[2])
    return torch.autograd.grad(output, inputs, grad_output)
