"""Linear layers by oneDNN: the products, gradients, names and hooks of plain ones."""

import copy
import platform
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from d2_modeling import optimize_for_inference, optimized_for_inference
from d2_modeling.analysis import FlopCountAnalysis
from d2_modeling.backbone.vit import Mlp
from d2_modeling.layers.fused_linear import FusedLinear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"),
    reason="only on x86-64 with oneDNN linear layers are fused",
)


class Called(TorchDispatchMode):
    """Names the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def perceptron(act: Any = nn.GELU) -> Mlp:
    torch.manual_seed(0)
    return Mlp(16, 32, act).eval()


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, 16, generator=torch.Generator().manual_seed(1))


def in_double(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).double()(x.double()).float()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 4, 6), (2, 3, 4, 5), ()])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_any_rank_are_those_in_double_precision(
    shape: tuple[int, ...], bias: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(16, 7, bias=bias))
    fast = optimize_for_inference(layer)
    with torch.no_grad():
        got = fast(maps(*shape))
    assert got.shape == (*shape, 7)
    torch.testing.assert_close(got, in_double(layer, maps(*shape)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_bias_are_computed_in_the_product(approximate: str) -> None:
    model = perceptron(lambda: nn.GELU(approximate))
    fast = optimize_for_inference(model)
    x = maps(2, 3, 4)
    with torch.inference_mode(), Called() as called:
        got = fast(x)
    assert "gelu" not in called.names
    assert called.names.count("_linear_pointwise") == 2
    torch.testing.assert_close(got, in_double(model, x), rtol=1e-5, atol=1e-5)


def test_other_activations_stay_what_they_are() -> None:
    model = perceptron(nn.SiLU)
    x = maps(7)
    with torch.no_grad():
        got = optimize_for_inference(model)(x)
    torch.testing.assert_close(got, in_double(model, x), rtol=1e-5, atol=1e-5)


def test_no_rows_give_no_rows() -> None:
    with torch.no_grad():
        assert optimize_for_inference(perceptron())(maps(0)).shape == (0, 16)


def test_rows_that_lie_apart_are_read_as_they_are() -> None:
    model, x = perceptron(), maps(4, 6).transpose(0, 1)[::2]
    with torch.no_grad():
        got = optimize_for_inference(model)(x)
    torch.testing.assert_close(got, in_double(model, x), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_model_itself() -> None:
    models = [perceptron(), optimize_for_inference(perceptron())]
    inputs = [maps(5).requires_grad_() for _ in models]
    for model, x in zip(models, inputs, strict=True):
        model(x).square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=0, atol=0)
    torch.testing.assert_close(models[1].fc1.weight.grad, models[0].fc1.weight.grad)


def test_an_input_that_wants_a_gradient_of_frozen_weights_gets_it() -> None:
    model = optimize_for_inference(perceptron()).requires_grad_(False)
    x = maps(5).requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


def test_hooks_of_layer_and_activation_are_called() -> None:
    model, seen = perceptron(), []
    model.fc1.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    model.act.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    with torch.no_grad():
        optimize_for_inference(model)(maps(5))
    assert seen == [(5, 32), (5, 32)]


def test_subclasses_and_parametrised_layers_are_left_alone() -> None:
    class Own(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 1

    model = nn.Sequential(Own(16, 16), nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)))
    fast = optimize_for_inference(model)
    assert not any(isinstance(layer, FusedLinear) for layer in fast.modules())
    with torch.no_grad():
        torch.testing.assert_close(fast(maps(3)), model(maps(3)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_take_the_plain_way(dtype: torch.dtype) -> None:
    model = perceptron().to(dtype)
    with torch.no_grad(), Called() as called:
        got = optimize_for_inference(model)(maps(3).to(dtype))
    assert "_linear_pointwise" not in called.names
    with torch.no_grad():
        torch.testing.assert_close(got, model(maps(3).to(dtype)), rtol=0, atol=0)


def test_autocast_still_computes_in_its_own_type() -> None:
    fast = optimize_for_inference(perceptron())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert fast(maps(3)).dtype == torch.bfloat16


def test_a_recorded_graph_has_standard_operators_only() -> None:
    fast = optimize_for_inference(perceptron())
    with torch.no_grad():
        program = torch.export.export(fast, (maps(3),), strict=False)
        compiled = torch.compile(fast, backend="eager", fullgraph=True)(maps(3))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert targets == {"aten.linear.default", "aten.gelu.default", "aten.dropout.default"}
    torch.testing.assert_close(compiled, in_double(fast, maps(3)), rtol=1e-5, atol=1e-5)


def test_a_number_of_rows_that_depends_on_values_is_exported() -> None:
    class OfPositive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = optimize_for_inference(perceptron())

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layers(x[x[:, 0] > 0])
            return out

    model = OfPositive()
    with torch.no_grad():
        program = torch.export.export(model, (maps(6),), strict=False)
        for x in (maps(6), maps(6).abs()):
            got = program.module()(x)
            torch.testing.assert_close(got, model(x), rtol=1e-5, atol=1e-5)


def test_names_stay_and_weights_that_are_loaded_later_count() -> None:
    fast, other = optimize_for_inference(perceptron()), perceptron()
    assert fast.state_dict().keys() == other.state_dict().keys()
    nn.init.ones_(other.fc2.weight)
    fast.load_state_dict(other.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fast(maps(3)), other(maps(3)), rtol=1e-5, atol=1e-5)


def test_behind_the_block_layers_are_what_they_were() -> None:
    model = perceptron()
    with optimized_for_inference(model):
        assert type(model.fc1) is FusedLinear
    assert type(model.fc1) is type(model.fc2) is nn.Linear


def test_multiply_adds_are_counted_alike() -> None:
    model = perceptron()
    fast, x = optimize_for_inference(model), maps(2, 3)
    plain, fused = (FlopCountAnalysis(one, x).by_operator() for one in (model, fast))
    assert fused == plain
    assert fused["addmm"] == 2 * 6 * 16 * 32
