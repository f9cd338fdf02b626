"""Counts of multiply-adds and activations, beside closed forms and counts by hooks."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_modeling.analysis import (
    ActivationCountAnalysis,
    FlopCountAnalysis,
    OperatorCountAnalysis,
    activation_count_operators,
    flop_count_operators,
)
from d2_modeling.backbone import BasicStem, RegNet, ResBottleneckBlock, ResNet, SimpleStem, ViT


class Calls(nn.Module):
    """A module that calls one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def flops_of(function: Any, *shapes: tuple[int, ...]) -> Counter[str]:
    model = function if isinstance(function, nn.Module) else Calls(function)
    return FlopCountAnalysis(model.eval(), tuple(torch.randn(s) for s in shapes)).by_operator()


small = st.integers(1, 4)


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(3, 6), min_size=1, max_size=3),
    kernel=small.filter(lambda k: k <= 3),
    groups=st.integers(1, 2),
    stride=st.integers(1, 2),
    transposed=st.booleans(),
    bias=st.booleans(),
)
def test_a_convolution_meets_one_filter_at_every_place(
    sizes: list[int], kernel: int, groups: int, stride: int, transposed: bool, bias: bool
) -> None:
    names = {False: "Conv", True: "ConvTranspose"}
    kind = getattr(nn, f"{names[transposed]}{len(sizes)}d")
    layer = kind(4, 6, kernel, stride=stride, groups=groups, bias=bias)
    places = math.prod(sizes if transposed else [(n - kernel) // stride + 1 for n in sizes])
    expected = 2 * places * 4 * 6 // groups * kernel ** len(sizes)
    assert flops_of(layer, (2, 4, *sizes)) == Counter({"conv": expected})


@settings(deadline=None, max_examples=25)
@given(batch=small, n=small, k=small, m=small)
def test_products_of_matrices_count_every_pair(batch: int, n: int, k: int, m: int) -> None:
    one, many = n * k * m, batch * n * k * m
    assert flops_of(torch.mm, (n, k), (k, m)) == Counter({"matmul": one})
    assert flops_of(torch.addmm, (m,), (n, k), (k, m)) == Counter({"addmm": one})
    assert flops_of(torch.bmm, (batch, n, k), (batch, k, m)) == Counter({"matmul": many})
    three = ((batch, n, m), (batch, n, k), (batch, k, m))
    assert flops_of(torch.baddbmm, *three) == Counter({"matmul": many})
    assert flops_of(nn.Linear(k, m), (batch, n, k)).total() == many


@pytest.mark.parametrize(
    ("function", "shapes", "name", "expected"),
    [
        (nn.BatchNorm1d(5), [(4, 5)], "batch_norm", 2 * 20),
        (nn.BatchNorm3d(2), [(1, 2, 2, 3, 4)], "batch_norm", 2 * 48),
        (nn.LayerNorm(6), [(3, 4, 6)], "layer_norm", 5 * 72),
        (nn.GroupNorm(3, 6), [(2, 6, 2)], "group_norm", 5 * 24),
        (nn.Upsample((5, 7), mode="bilinear"), [(2, 3, 2, 2)], "upsample_bilinear2d", 4 * 210),
        (nn.Upsample((5, 7), mode="bicubic"), [(2, 3, 2, 2)], "upsample_bicubic2d", 16 * 210),
        (nn.AvgPool2d(2), [(2, 3, 4, 6)], "avg_pool2d", 144),
        (nn.AdaptiveAvgPool2d(2), [(2, 3, 4, 6)], "adaptive_avg_pool2d", 144),
        (lambda x: x.mean(dim=(2, 3)), [(2, 3, 4, 6)], "mean", 144),
    ],
)
def test_what_costs_by_the_element_counts_so(
    function: Any, shapes: list[tuple[int, ...]], name: str, expected: int
) -> None:
    assert flops_of(function, *shapes) == Counter({name: expected})


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_attention_counts_both_of_its_products(masked: bool, gradients: bool) -> None:
    """Whichever kernel torch takes."""
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    mask = torch.randn(5, 7) if masked else None
    model = Calls(lambda *x: F.scaled_dot_product_attention(*x, attn_mask=mask))
    q.requires_grad_(gradients)
    assert FlopCountAnalysis(model, (q, k, v)).total() == 2 * 2 * 3 * 5 * 7 * 8


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("modulated", [True, False])
def test_deformable_convolutions_count_their_samples_too(groups: int, modulated: bool) -> None:
    from d2_modeling.layers import DeformConv, ModulatedDeformConv

    kind = ModulatedDeformConv if modulated else DeformConv
    layer = kind(4, 6, 3, padding=1, stride=2, groups=groups, deformable_groups=2)
    extra = [(1, 18, 4, 3)] if modulated else []
    found = flops_of(layer, (1, 4, 8, 6), (1, 36, 4, 3), *extra)
    places = 4 * 3
    assert found == Counter({"deform_conv": places * (6 * 4 * 9 // groups + 4 * 4 * 9)})


# Whole networks


def by_hooks(model: nn.Module, x: Tensor) -> tuple[float, float]:
    """Multiply-adds and activations of convolutions and linear layers, from their shapes."""
    found = [0.0, 0.0]

    def count(module: Any, args: tuple[Tensor], out: Tensor) -> None:
        found[0] += out.numel() * module.weight[0].numel()
        found[1] += out.numel()

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(x)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("depth", "billions"), [(18, 1.814), (34, 3.664), (50, 4.089), (101, 7.801), (152, 11.514)]
)
def test_residual_networks_have_their_published_multiply_adds(depth: int, billions: float) -> None:
    """On the meta device nothing is computed; torchvision publishes the numbers."""
    with torch.device("meta"):
        model = ResNet(BasicStem(norm=""), ResNet.make_default_stages(depth, norm=""), 1000)
        flops = FlopCountAnalysis(model.eval(), torch.zeros(1, 3, 224, 224))
    counts = flops.by_operator()
    assert (counts["conv"] + counts["addmm"]) / 1e9 == pytest.approx(billions, abs=5e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResNet(BasicStem(out_channels=64), ResNet.make_default_stages(18)[:2]),
        lambda: RegNet(
            stem_class=SimpleStem,
            stem_width=8,
            block_class=ResBottleneckBlock,
            depth=4,
            w_a=8.0,
            w_0=8,
            w_m=2.0,
            group_width=4,
            se_ratio=0.25,
        ),
        lambda: ViT(img_size=64, embed_dim=16, depth=2, num_heads=2),
    ],
    ids=["ResNet", "RegNet", "ViT"],
)
def test_convolutions_and_products_of_a_network_are_those_that_hooks_count(make: Any) -> None:
    model, x = make().eval(), torch.randn(2, 3, 64, 48)
    flops = FlopCountAnalysis(model, x).by_operator()
    activations = ActivationCountAnalysis(model, x).by_operator()
    wanted = by_hooks(model, x)
    products = ("conv", "addmm", "matmul")
    assert sum(flops[name] for name in products) == wanted[0]
    assert activations.total() == wanted[1]


def test_a_module_has_what_its_parts_have_together() -> None:
    model = ResNet(BasicStem(out_channels=64), ResNet.make_default_stages(18)[:2]).eval()
    flops = FlopCountAnalysis(model, torch.randn(1, 3, 32, 32))
    counts = flops.by_module()
    for name in ("", "res2", "res3.0"):
        module = model.get_submodule(name)
        parts = [f"{name}.{child}".lstrip(".") for child, _ in module.named_children()]
        assert counts[name] == sum(counts[part] for part in parts) == flops.total(name)
    assert flops.total() == sum(flops.by_operator().values())
    assert flops.by_module_and_operator()["res3"] == flops.by_operator("res3")


# How an analysis behaves


def test_the_model_runs_once_without_gradients_and_is_left_as_it_was() -> None:
    calls: list[bool] = []

    class Watched(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            calls.append(torch.is_grad_enabled())
            return super().forward(input)

    model = Watched(3, 2).train()
    flops = FlopCountAnalysis(model, torch.randn(1, 3, requires_grad=True))
    assert calls == []
    for _ in range(3):
        flops.total()
        flops.by_module()
        flops.unsupported_ops()
    assert calls == [False]
    assert model.training
    assert model.weight.grad is None
    flops.set_op_handle("aten::relu", None).total()
    assert calls == [False, False]


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.wrong = True

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        if self.wrong:
            raise ZeroDivisionError
        return x


def test_a_model_that_fails_is_no_model_without_cost() -> None:
    model = Fails()
    flops = FlopCountAnalysis(model, torch.zeros(1, 2))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            flops.total()
    assert not model.fc._forward_hooks
    assert not model._forward_pre_hooks
    model.wrong = False
    assert flops.total() == 4


@pytest.mark.parametrize("inputs", [lambda x: x, lambda x: (x,)])
def test_a_single_argument_needs_no_tuple(inputs: Any) -> None:
    assert FlopCountAnalysis(nn.Linear(3, 2), inputs(torch.zeros(4, 3))).total() == 24


def test_several_arguments_are_a_tuple_and_a_list_is_one() -> None:
    two = (torch.zeros(2, 3), torch.zeros(3, 4))
    assert FlopCountAnalysis(Calls(torch.mm), two).total() == 24
    listed = Calls(lambda tensors: torch.mm(*tensors))
    assert FlopCountAnalysis(listed, list(two)).total() == 24


def test_handles_get_arguments_and_result_and_may_give_fractions() -> None:
    seen: list[Any] = []

    def handle(args: Any, out: Any) -> float:
        seen.append((len(args), tuple(out.shape)))
        return 0.5

    analysis = OperatorCountAnalysis(nn.ReLU(), torch.zeros(2, 3), {"aten::relu": ("cut", handle)})
    assert analysis.by_operator() == Counter({"cut": 0.5})
    assert analysis.total() == 0.5
    assert seen == [(1, (2, 3))]


def test_handles_by_keyword_are_for_operators_of_torch() -> None:
    flops = FlopCountAnalysis(nn.ReLU(), torch.zeros(2, 3))
    assert flops.set_op_handle(**{"aten::relu": lambda args, out: 7.0}) is flops
    assert flops.by_operator() == Counter({"relu": 7.0})


def test_a_handle_of_another_library_keeps_its_whole_name() -> None:
    flops = FlopCountAnalysis(nn.ReLU(), torch.zeros(2))
    flops.set_op_handle("mine::relu", lambda args, out: 1.0)
    assert flops._handles["mine::relu"] is not None
    assert flops._handles["mine::relu"][0] == "mine::relu"
    assert flops.total() == 0


def test_a_copy_has_handles_and_settings_of_its_own() -> None:
    flops = FlopCountAnalysis(nn.Linear(3, 2), torch.zeros(1, 3)).ancestor_mode("caller")
    other = flops.copy(new_inputs=(torch.zeros(5, 3),))
    other.set_op_handle("aten::addmm", None)
    assert other.total() == 0
    assert flops.total() == 6
    assert flops.copy(nn.Linear(3, 9)).total() == 27
    assert other._ancestors == "caller"


def test_operators_that_are_not_counted_are_counted_as_such_by_module() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), nn.Sigmoid()))
    flops = FlopCountAnalysis(model, torch.zeros(2))
    assert flops.unsupported_ops() == Counter({"aten::relu": 2, "aten::sigmoid": 1})
    assert flops.unsupported_ops("1") == Counter({"aten::relu": 1, "aten::sigmoid": 1})
    assert flops.unsupported_ops("1.1") == Counter({"aten::sigmoid": 1})
    with pytest.raises(KeyError, match="no module '2'"):
        flops.unsupported_ops("2")


def test_a_layer_that_is_called_twice_costs_twice() -> None:
    layer = nn.Linear(3, 3)
    flops = FlopCountAnalysis(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 3))
    assert flops.total() == 18
    assert flops.total("2") == flops.total("0") == 18
    assert flops.uncalled_modules() == set()


@pytest.mark.parametrize("mode", ["owner", "caller"])
def test_what_a_module_does_after_calling_a_part_is_its_own(mode: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.mm(self.part(x), torch.ones(2, 5))

    flops = FlopCountAnalysis(Model(), torch.zeros(1, 3)).ancestor_mode(mode)
    assert dict(flops.by_module()) == {"": 6 + 10, "part": 6}


def test_models_without_operators_cost_nothing() -> None:
    flops = FlopCountAnalysis(nn.Identity(), torch.zeros(2))
    assert (flops.total(), flops.by_operator(), dict(flops.by_module())) == (0, Counter(), {"": 0})
    assert flops.unsupported_ops() == Counter()


# Models that take a list of dicts


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.dropout = nn.Dropout()

    def forward(self, inputs: list[dict[str, Tensor]]) -> list[Tensor]:
        assert not self.training
        assert all(entry.keys() == {"image"} for entry in inputs)
        return [self.conv(entry["image"][None]) for entry in inputs]


@pytest.mark.parametrize("training", [True, False])
def test_detectors_are_counted_in_billions_and_millions(training: bool) -> None:
    model = Detector().train(training)
    inputs = [{"image": torch.zeros(3, 10, side), "height": 7} for side in (10, 20)]
    assert flop_count_operators(model, inputs) == {"conv": 300 * 6 / 1e9}
    assert activation_count_operators(model, inputs) == {"conv": 300 * 2 / 1e6}
    ignored = activation_count_operators(model, inputs, **{"aten::convolution": None})
    assert ignored == {}
    assert ignored["conv"] == 0.0
    assert model.training == training
    assert model.dropout.training == training


def test_a_detector_that_fails_is_left_as_it_was() -> None:
    model = Detector().train()
    with pytest.raises(KeyError, match="image"):
        flop_count_operators(model, [{"picture": torch.zeros(3, 2, 2)}])
    with pytest.raises(RuntimeError):
        flop_count_operators(model, [{"image": torch.zeros(4, 2, 2)}])
    assert model.training
