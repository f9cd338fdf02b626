"""Counting of parameters, multiply-adds and activations."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_modeling import GeneralizedRCNN
from d2_modeling.analysis import (
    ActivationCountAnalysis,
    FlopCountAnalysis,
    activation_count_operators,
    flop_count_operators,
    flop_count_str,
    flop_count_table,
    parameter_count,
    parameter_count_table,
)
from d2_modeling.analysis.tables import short_number
from d2_ops import DeformConv


class Documented(nn.Module):
    """The example of the documentation."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(in_features=1000, out_features=10)
        self.conv = nn.Conv2d(in_channels=3, out_channels=10, kernel_size=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.act(self.conv(x)).flatten(1))
        return out


class Calls(nn.Module):
    """A module that calls one function."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Tensor:
        return self.function(*args)


def test_the_documented_example_counts_as_documented() -> None:
    flops = FlopCountAnalysis(Documented(), (torch.randn(1, 3, 10, 10),))
    assert flops.total() == 13000
    assert flops.total("fc") == 10000
    assert flops.by_operator() == Counter({"addmm": 10000, "conv": 3000})
    assert dict(flops.by_module()) == {"": 13000, "fc": 10000, "conv": 3000, "act": 0}
    assert flops.by_module_and_operator()["act"] == Counter()
    assert flops.uncalled_modules() == set()
    with pytest.raises(KeyError, match="'head'"):
        flops.total("head")


@pytest.mark.parametrize(
    ("model", "shapes", "expected"),
    [
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), [(2, 4, 5, 7)], 2 * 5 * 7 * 6 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), [(2, 4, 5, 7)], 2 * 5 * 7 * 4 * 6 * 4),
        (nn.Linear(3, 5), [(2, 7, 3)], 2 * 7 * 3 * 5),
        (nn.Linear(3, 5, bias=False), [(7, 3)], 7 * 3 * 5),
        (Calls(torch.matmul), [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        (Calls(F.scaled_dot_product_attention), [(1, 2, 3, 8)] * 3, 2 * 2 * 3 * 3 * 8),
        (nn.BatchNorm2d(4).eval(), [(2, 4, 3, 3)], 2 * 72),
        (nn.GroupNorm(2, 4), [(2, 4, 3, 3)], 5 * 72),
        (nn.Upsample(scale_factor=2, mode="bilinear"), [(1, 2, 3, 3)], 4 * 72),
    ],
)
def test_each_operator_counts_its_multiply_adds(
    model: nn.Module, shapes: list[tuple[int, ...]], expected: int
) -> None:
    assert FlopCountAnalysis(model, tuple(torch.randn(s) for s in shapes)).total() == expected


def test_handles_can_be_added_replaced_and_removed() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    flops = FlopCountAnalysis(model, torch.randn(2, 3))
    assert flops.unsupported_ops()["aten::relu"] == 1
    flops.set_op_handle("aten::relu", lambda args, out: out.numel(), "aten::addmm", None)
    assert flops.by_operator() == Counter({"relu": 10})
    assert "aten::relu" not in flops.unsupported_ops()
    assert "aten::addmm" not in flops.unsupported_ops()
    with pytest.raises(ValueError, match="by turns"):
        flops.set_op_handle("aten::relu")


def test_activations_are_the_results_of_products() -> None:
    counts = ActivationCountAnalysis(Documented(), torch.randn(2, 3, 10, 10)).by_operator()
    assert counts == Counter({"conv": 2000, "addmm": 20})


def test_modules_that_do_not_run_are_named_and_hooks_removed() -> None:
    model = Documented()
    model.unused = nn.Linear(2, 2)  # type: ignore[assignment]  # a module like the others
    flops = FlopCountAnalysis(model, torch.randn(1, 3, 10, 10))
    assert flops.uncalled_modules() == {"unused"}
    assert not model.fc._forward_hooks
    assert not model.fc._forward_pre_hooks


def test_detectors_are_counted_in_inference(build_rcnn: Callable[..., GeneralizedRCNN]) -> None:
    model = build_rcnn(fpn=8, fc=16).train()
    inputs: list[dict[str, Any]] = [{"image": torch.rand(3, 64, 64), "file_name": "x"}]
    flops = flop_count_operators(model, inputs)
    assert model.training
    assert {"conv", "addmm"} <= set(flops)
    stem = model.backbone.get_submodule("bottom_up.stem.conv1")
    alone = FlopCountAnalysis(stem, torch.rand(1, 3, 64, 64)).total()
    assert flops["conv"] > alone / 1e9 > 0
    assert activation_count_operators(model, inputs)["conv"] > 0
    assert flops["no such operator"] == 0


def test_parameters_are_counted_for_every_part() -> None:
    counts = parameter_count(Documented())
    assert dict(counts) == {
        "": 10050,
        "fc": 10010,
        "fc.weight": 10000,
        "fc.bias": 10,
        "conv": 40,
        "conv.weight": 30,
        "conv.bias": 10,
    }


def test_the_table_shows_modules_and_shapes_down_to_a_depth() -> None:
    lines = parameter_count_table(Documented(), max_depth=1).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["name", "#elements or shape"]
    assert cells[2:] == [["model", "10.1K"], ["fc", "10.0K"], ["conv", "40"]]
    deep = parameter_count_table(Documented())
    assert "fc.weight" in deep
    assert "(10, 1000)" in deep
    assert len({len(line) for line in deep.splitlines()}) == 1


def test_deformable_convolutions_are_counted() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = DeformConv(4, 6, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.conv(x, torch.zeros(1, 18, *x.shape[2:]))
            return out

    counted = FlopCountAnalysis(Deformed(), torch.randn(1, 4, 5, 7)).by_operator()
    products, interpolated = 35 * 6 * 4 * 9, 35 * 4 * 9 * 4
    assert counted == Counter({"deform_conv": products + interpolated})


class Shared(nn.Module):
    """Runs a layer that is a part of another module, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(10, 10))
        self.second = nn.Module()
        self.second.inner = self.first[0]
        self.second.forward = lambda x: self.first[0](x)  # type: ignore[method-assign]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(x)
        return out


def test_an_operator_belongs_to_its_owner_or_to_all_that_were_running() -> None:
    flops = FlopCountAnalysis(Shared(), torch.randn(1, 10))
    assert flops.canonical_module_name("second.inner") == "first.0"
    assert flops.total("second.inner") == flops.total("first.0") == 100
    assert dict(flops.by_module()) == {"": 100, "first": 100, "first.0": 100, "second": 0}
    callers = flops.copy().ancestor_mode("caller").by_module()
    assert dict(callers) == {"": 100, "first": 0, "first.0": 100, "second": 100}
    assert flops.total("first") == 100  # the copy changed nothing
    with pytest.raises(ValueError, match=r"is one of \['owner', 'caller'\], got 'parent'"):
        flops.ancestor_mode("parent")
    with pytest.raises(KeyError, match="no module 'third'"):
        flops.canonical_module_name("third")


def test_an_analysis_is_repeated_with_other_inputs_and_handles() -> None:
    flops = FlopCountAnalysis(Documented(), torch.randn(1, 3, 10, 10))
    assert flops.copy(new_inputs=torch.randn(2, 3, 10, 10)).total() == 2 * flops.total()
    assert flops.copy(new_model=nn.ReLU()).total() == 0
    assert flops.copy().clear_op_handles().total() == 0
    assert flops.total() == 13000


def test_the_log_names_what_was_left_out_unless_told_not_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    model = Documented()
    model.unused = nn.Linear(2, 2)  # type: ignore[assignment]  # a module like the others
    flops = FlopCountAnalysis(model, torch.randn(1, 3, 10, 10)).tracer_warnings("all")
    flops.total()
    assert "aten::relu (1)" in caplog.text
    assert "Modules that were not called: unused" in caplog.text
    caplog.clear()
    flops.copy().unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    assert caplog.text == ""
    with pytest.raises(ValueError, match="got 'some'"):
        flops.tracer_warnings("some")


class Inner(nn.Module):
    """As in the documentation of `flop_count_str`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(10, 10), nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc1(self.fc2(x))
        return out


class Outer(Inner):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.inner(x))


def test_the_text_of_a_model_has_its_numbers_as_documented() -> None:
    text = flop_count_str(FlopCountAnalysis(Outer(), torch.randn(1, 10)))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:2] == ["Outer(", "#params: 0.44K, #flops: 0.4K"]
    assert lines.count("#params: 0.11K, #flops: 100") == 4
    assert "#params: 0.22K, #flops: 0.2K" in lines
    assert "in_features=10, out_features=10, bias=True" in lines
    assert text.count("(") == text.count(")")


def test_text_and_table_say_what_has_no_numbers() -> None:
    model = nn.Sequential(nn.Linear(10, 10), nn.ReLU())
    model.unused = nn.Linear(2, 2)
    model.forward = lambda x: model[1](model[0](x))  # type: ignore[method-assign]
    inputs = torch.randn(1, 10)
    flops, activations = FlopCountAnalysis(model, inputs), ActivationCountAnalysis(model, inputs)
    text = flop_count_str(flops, activations)
    assert "(1): ReLU()" in text
    assert "#params: 6, #flops: N/A, #activations: N/A" in text
    assert "#params: 0.11K, #flops: 100, #activations: 10" in text
    table = flop_count_table(flops, activations=activations, show_param_shapes=False)
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[0] == ["model", "#parameters or shape", "#flops", "#activations"]
    assert rows[2:] == [
        ["model", "0.116K", "100", "10"],
        ["0", "0.11K", "100", "10"],
        ["unused", "6", "", ""],
    ]
    assert "(10, 10)" in flop_count_table(flops)
    assert len(flop_count_table(flops, max_depth=0).splitlines()) == 3


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (16, "16"),
        (128, "0.128K"),
        (5880, "5.88K"),
        (34.6e6, "34.6M"),
        (65.7e9, "65.7G"),
        (2e12, "2T"),
    ],
)
def test_numbers_have_three_digits(count: float, text: str) -> None:
    assert short_number(count) == text
