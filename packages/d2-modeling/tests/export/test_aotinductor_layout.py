"""Why files of AOTInductor are made without its own choice of memory formats."""

import os
import pathlib
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytestmark = pytest.mark.skipif(
    os.environ.get("D2_EXPORT_ALL") != "1", reason="compiling takes a minute; nox -s export does it"
)


class ConvolutionOfSome(nn.Module):
    """A convolution of as many maps as are chosen, whose pixels are then taken as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(8, 8, 3, padding=1)
        self.linear = nn.Linear(8, 3)

    def forward(self, maps: Tensor, chosen: Tensor) -> Tensor:
        convolved = self.convolution(maps[chosen.nonzero()[:, 0]]).relu()
        rows: Tensor = self.linear(convolved.permute(0, 2, 3, 1).reshape(-1, 8))
        return rows


def largest_difference(folder: pathlib.Path, **settings: Any) -> float:
    torch.manual_seed(0)
    module = ConvolutionOfSome().eval()
    example = torch.rand(7, 8, 4, 4), torch.tensor([True, False, True, True, False, True, True])
    dynamic = torch.export.Dim.DYNAMIC
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, about themselves
        program = torch.export.export(module, example, dynamic_shapes=({0: dynamic},) * 2)
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(folder / "module.pt2"), inductor_configs=settings
        )
        found = torch._inductor.aoti_load_package(package)(*example)
        return float((found - module(*example)).abs().max())


@pytest.mark.xfail(
    strict=True,
    reason="Inductor calls the convolution on channels-last maps, which gives such maps, and reads "
    "them as contiguous ones, where their number depends on values",
)
def test_inductor_chooses_memory_formats_and_keeps_the_numbers(tmp_path: pathlib.Path) -> None:
    assert largest_difference(tmp_path) < 1e-5


def test_without_its_choice_the_numbers_are_right(tmp_path: pathlib.Path) -> None:
    assert largest_difference(tmp_path, layout_optimization=False) < 1e-5
