"""Counts as tables and as text."""

import pytest
import torch
from torch import nn

from d2_modeling.analysis import (
    FlopCountAnalysis,
    flop_count_str,
    flop_count_table,
    parameter_count,
    parameter_count_table,
)
from d2_modeling.analysis.tables import short_number


def test_parameters_that_are_shared_count_once() -> None:
    layer = nn.Linear(3, 2)
    counts = parameter_count(nn.Sequential(layer, layer))
    assert counts[""] == 8
    assert counts["no such part"] == 0


def test_buffers_and_empty_parameters_are_no_elements() -> None:
    model = nn.BatchNorm2d(4)
    model.empty = nn.Parameter(torch.zeros(0, 3))
    assert dict(parameter_count(model)) == {"": 8, "weight": 4, "bias": 4, "empty": 0}
    assert parameter_count(nn.ReLU())[""] == 0


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_tables_go_as_deep_as_asked_for() -> None:
    model = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(3, 2))))
    flops = FlopCountAnalysis(model, torch.zeros(1, 3))
    for depth, names in enumerate(([], ["0"], ["0", "0.0"], ["0", "0.0", "0.0.0"])):
        for table in (parameter_count_table(model, depth), flop_count_table(flops, depth)):
            assert [row[0] for row in rows_of(table)[2:]] == ["model", *names]
    deepest = parameter_count_table(model, 4)
    assert rows_of(deepest)[-2:] == [["0.0.0.weight", "(2, 3)"], ["0.0.0.bias", "(2,)"]]


def test_the_rows_of_a_table_are_indented_by_their_depth() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 2)))
    lines = parameter_count_table(model).splitlines()
    starts = [line[2:].split("|")[0].rstrip() for line in lines[2:]]
    assert starts == ["model", " 0", "  0.0", "   0.0.weight", "   0.0.bias"]


def test_modules_that_cost_nothing_are_left_out_of_a_table() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.AvgPool2d(1))
    model.forward = lambda x: model[2](model[1](model[0](x)))  # type: ignore[method-assign]
    table = flop_count_table(FlopCountAnalysis(model, torch.zeros(1, 4, 3)))
    names = [row[0] for row in rows_of(table)[2:]]
    assert names == ["model", "0", "0.weight", "0.bias", "2"]
    assert rows_of(table)[-1] == ["2", "0", "8"]


def test_text_says_nothing_of_modules_that_cost_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    text = flop_count_str(FlopCountAnalysis(model, torch.zeros(1, 3)))
    assert text.splitlines() == [
        "Sequential(",
        "  #params: 8, #flops: 6",
        "  (0): Linear(",
        "    in_features=3, out_features=2, bias=True",
        "    #params: 8, #flops: 6",
        "  )",
        "  (1): ReLU()",
        ")",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (99.96, "100"),
        (100, "100"),
        (100.5, "0.101K"),
        (999, "0.999K"),
        (99_999, "100K"),
        (100_000, "0.1M"),
        (123_456_789, "0.123G"),
        (1.5e11, "0.15T"),
        (1.5e15, "1.5e+03T"),
    ],
)
def test_a_number_is_shown_in_the_unit_that_keeps_it_short(count: float, text: str) -> None:
    assert short_number(count) == text
