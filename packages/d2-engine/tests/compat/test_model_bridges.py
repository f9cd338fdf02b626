"""Layers, losses and counts in detectron2's forms, which the compatibility import adds to d2's."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2_engine.compat.shims import (
    checkpoints,
    compiled_operators,
    deformable_attention,
    flop_count,
    focal_loss_star,
    layer_wrappers,
    masks,
    older_layers,
    operator_counts,
    precise_statistics,
    tracing_state,
    unused_parameters,
    weight_init,
    window_attention,
)
from d2_modeling.layers import paste_masks_in_image


def test_masks_are_pasted_one_at_a_time_as_all_at_once():
    mask = torch.rand(28, 28)
    box = torch.tensor([3.0, 4, 30, 25])
    pasted = masks.paste_mask_in_image_old(mask, box, 40, 50, 0.5)
    assert torch.equal(pasted, paste_masks_in_image(mask[None], box[None], (40, 50), 0.5)[0])
    padded, scale = masks.pad_masks(torch.ones(1, 4, 4), 1)
    assert padded.shape == (1, 6, 6)
    assert scale == 1.5
    scaled = masks.scale_boxes(torch.tensor([[0.0, 0, 10, 20]]), 1.5)
    assert scaled.tolist() == [[-2.5, -5, 12.5, 25]]
    assert masks.polygon_area(np.array([0, 2, 2, 0]), np.array([0, 0, 3, 3])) == 6


def test_wrappers_do_what_is_left_to_do():
    assert layer_wrappers.shapes_to_tensor([2, 3]).tolist() == [2, 3]
    assert layer_wrappers.shapes_to_tensor([torch.tensor(2), 3]).tolist() == [2, 3]
    loss = layer_wrappers.empty_input_loss_func_wrapper(F.cross_entropy)
    nothing = torch.zeros(0, 3, requires_grad=True)
    loss(nothing, torch.zeros(0, dtype=torch.int64)).backward()
    scores, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(loss(scores, target), F.cross_entropy(scores, target))
    assert layer_wrappers.move_device_like(scores, target).device == target.device


def test_compiled_functions_are_those_of_d2_ops():
    assert compiled_operators.get_compiler_version()
    assert compiled_operators.has_cuda() is (torch.version.cuda is not None)
    boxes = torch.tensor([[10.0, 10, 4, 2, 30], [10, 10, 4, 2, 30]])
    assert compiled_operators.box_iou_rotated(boxes, boxes)[0, 1] == pytest.approx(1, abs=1e-5)
    pooled = compiled_operators.roi_align_rotated_forward(
        torch.ones(1, 2, 8, 8), torch.tensor([[0.0, 4, 4, 4, 4, 0]]), 1.0, 3, 2, 2
    )
    assert pooled.shape == (1, 2, 3, 2)


def test_the_compiled_attention_of_projects_is_that_of_d2_ops():
    torch.manual_seed(0)
    shapes = torch.tensor([[3, 4], [2, 2]])
    value = torch.randn(1, 16, 2, 4)
    locations, weights = torch.rand(1, 3, 2, 2, 2, 2), torch.rand(1, 3, 2, 2, 2)
    tensors = value, shapes, torch.tensor([0, 12]), locations, weights
    output = deformable_attention.ms_deform_attn_forward(*tensors, 64)
    assert output.shape == (1, 3, 8)
    grads = deformable_attention.ms_deform_attn_backward(*tensors, torch.ones_like(output), 64)
    assert [grad.shape for grad in grads] == [t.shape for t in (value, locations, weights)]
    slope = deformable_attention.ms_deform_attn_forward(
        value, shapes, tensors[2], locations, weights * 2, 64
    )
    torch.testing.assert_close((grads[2] * weights).sum(), (slope - output).sum())


def test_weights_are_filled_as_caffe2_does():
    layer = nn.Conv2d(8, 16, 3)
    weight_init.c2_xavier_fill(layer)
    assert layer.weight.abs().max() <= (3 / 72) ** 0.5
    assert layer.bias.abs().sum() == 0
    weight_init.c2_msra_fill(layer)
    assert layer.weight.detach().std() == pytest.approx((2 / 144) ** 0.5, rel=0.2)


def test_norms_take_turns_and_share_their_weights():
    norms = older_layers.CycleBatchNormList(2, num_features=3).train()
    norms.weight.data.fill_(2.0)
    images = [torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5) * 10]
    outputs = [norms(image) for image in images]
    for output in outputs:
        assert output.detach().std() == pytest.approx(2.0, rel=0.05)
    assert norms[0].running_var.mean() < norms[1].running_var.mean()
    assert older_layers.LayerNorm(3)(images[0]).mean(dim=1).abs().max() < 1e-5


def test_deformable_convolutions_by_functions_are_plain_ones_without_offsets():
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(2, 4, 3, 3)
    offset, mask = torch.zeros(1, 18, 6, 6), torch.ones(1, 9, 6, 6)
    wanted = F.conv2d(x, weight, padding=1)
    found = older_layers.deform_conv(x, offset, weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    found = older_layers.modulated_deform_conv(x, offset, mask, weight, padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_predictions_are_put_in_the_order_of_anchors():
    tensor = torch.arange(2 * 6 * 2 * 3).view(2, 6, 2, 3)
    permuted = older_layers.permute_to_N_HWA_K(tensor, 3)
    assert permuted.shape == (2, 12, 3)
    assert permuted[0, 1].tolist() == tensor[0, 3:, 0, 0].tolist()
    buffers = older_layers.BufferList([torch.zeros(1), torch.ones(2)])
    assert len(buffers) == 2
    assert buffers.state_dict() == {}
    x, y = older_layers._create_grid_offsets((2, 3), 4, 0.5, torch.zeros(1))
    assert x.tolist() == [2, 6, 10] * 2
    assert y.tolist() == [2] * 3 + [6] * 3


def test_relative_positions_are_added():
    q = torch.randn(2, 6, 4)
    zero = window_attention.add_decomposed_rel_pos(
        torch.ones(2, 6, 6), q, torch.zeros(3, 4), torch.zeros(5, 4), (2, 3), (2, 3)
    )
    assert (zero == 1).all()


def test_the_other_focal_loss_weighs_ones():
    logits, targets = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    plain = focal_loss_star.sigmoid_focal_loss_star(logits, targets)
    torch.testing.assert_close(
        plain, F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    )
    weighed = focal_loss_star.sigmoid_focal_loss_star(logits, targets, alpha=0.25, reduction="sum")
    torch.testing.assert_close(weighed, 0.25 * plain[0] + 0.75 * plain[1])


def test_nothing_is_traced_in_plain_code():
    assert not tracing_state._is_tracing()
    with pytest.raises(AssertionError, match="wrong"):
        tracing_state.assert_fx_safe(False, "wrong")


def test_names_of_weights_are_brought_together():
    state = {"module.a": 1, "module.b": 2}
    checkpoints._strip_prefix_if_present(state, "module.")
    assert state == {"a": 1, "b": 2}
    checkpoints._strip_prefix_if_present(state, "x.")
    assert set(state) == {"a", "b"}
    model = {"backbone.conv.weight": torch.zeros(2)}
    found = checkpoints.align_and_update_state_dicts(
        model, {"conv.weight": torch.ones(2), "other": torch.ones(1)}, c2_conversion=False
    )
    assert found["backbone.conv.weight"].tolist() == [1, 1]
    assert "other" in found
    assert checkpoints._IncompatibleKeys(["a"], [], []).missing_keys == ["a"]


def test_handles_get_lists_of_inputs_and_outputs():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU())
    image = torch.zeros(1, 3, 8, 8)
    plain = operator_counts.FlopCountAnalysis(model, image).total()
    assert plain == 4 * 36 * 27
    counted = operator_counts.FlopCountAnalysis(model, image).set_op_handle(
        "aten::convolution", operator_counts.conv_flop_jit, **{"aten::relu": lambda i, o: 7}
    )
    assert counted.total() == plain + 7
    assert operator_counts.get_shape(image) == [1, 3, 8, 8]
    assert operator_counts.get_shape(3) is None
    linear = operator_counts.FlopCountAnalysis(nn.Linear(3, 5), torch.zeros(2, 3))
    assert linear.set_op_handle("aten::addmm", operator_counts.addmm_flop_jit).total() == 30


def test_operations_are_counted_in_one_call():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    counted, _ = flop_count.flop_count(model, (torch.zeros(1, 3),))
    assert sum(counted.values()) == pytest.approx(25e-9)


def test_statistics_become_those_of_the_batches():
    norm = nn.BatchNorm1d(1)
    data = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])]
    assert precise_statistics.get_bn_modules(norm) == [norm]
    precise_statistics.update_bn_stats(norm, data, 2)
    assert norm.running_mean.item() == pytest.approx(3.0)
    assert norm.momentum == 0.1
    with pytest.raises(ValueError, match="ended after 2 of 3"):
        precise_statistics.update_bn_stats(norm, data, 3)
    assert precise_statistics.get_bn_modules(norm.eval()) == []


def test_unused_parameters_are_named():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.left = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

        def forward(self, x: Any) -> Any:
            return {"loss": (self.used * x).sum()}

    assert unused_parameters.find_unused_parameters(Half(), torch.ones(1)) == ["left"]
    with pytest.raises(ValueError, match="training mode"):
        unused_parameters.find_unused_parameters(Half().eval(), torch.ones(1))
