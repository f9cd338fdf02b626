"""Operators of d2-ops, as standard ones of ONNX, give what they give."""

import pathlib
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2_modeling.export.onnx_operators import translations
from d2_modeling.export.onnx_values import OPSET
from d2_modeling.export.quiet import quiet_log
from d2_ops import batched_nms

onnx = pytest.importorskip("onnx", reason="ONNX files are made by onnx")
pytest.importorskip("onnxscript", reason="ONNX files are made by onnxscript")
runtime = pytest.importorskip("onnxruntime", reason="ONNX files are run by ONNX Runtime")


class Suppression(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor) -> Tensor:
        return batched_nms(boxes, scores, idxs, 0.5)


def boxes_scores_categories(count: int, categories: int) -> tuple[Tensor, Tensor, Tensor]:
    """Some of them in category -1, and with equal scores."""
    random = torch.Generator().manual_seed(count + categories)
    corner = torch.rand(count, 2, generator=random) * 300
    sides = torch.rand(count, 2, generator=random) * 150
    scores = (torch.rand(count, generator=random) * 50).round() / 50 - 0.5
    chosen = torch.randint(-1, categories, (count,), generator=random)
    return torch.cat([corner, corner + sides], dim=1), scores, chosen


@pytest.fixture(scope="module")
def suppression() -> Callable[..., np.ndarray]:
    dynamic = torch.export.Dim.DYNAMIC
    example = boxes_scores_categories(9, 2)
    program = torch.export.export(Suppression(), example, dynamic_shapes=({0: dynamic},) * 3)
    with quiet_log("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, about themselves
        made = torch.onnx.export(
            program,
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            custom_translation_table=translations(),
            verbose=False,
        )
    session = runtime.InferenceSession(made.model_proto.SerializeToString())

    def run(*inputs: Tensor) -> np.ndarray:
        names = [each.name for each in session.get_inputs()]
        feed = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        (kept,) = session.run(None, feed)
        return np.asarray(kept)

    return run


@pytest.mark.parametrize(
    ("count", "categories"), [(0, 3), (1, 1), (2, 3), (60, 1), (200, 5), (400, 300)]
)
def test_suppression_within_categories_keeps_the_same_in_the_same_order(
    count: int, categories: int, suppression: Callable[..., np.ndarray]
) -> None:
    inputs = boxes_scores_categories(count, categories)
    assert suppression(*inputs).tolist() == batched_nms(*inputs, 0.5).tolist()


class Sorting(nn.Module):
    def __init__(self, *, descending: bool) -> None:
        super().__init__()
        self.descending = descending

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        found = values.sort(stable=True, descending=self.descending)
        return found.values, found.indices


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("count", [0, 1, 90])
def test_equal_numbers_stay_in_order_in_openvino_too(
    count: int, descending: bool, tmp_path: pathlib.Path
) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path = tmp_path / "sort.onnx"
    with quiet_log("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, about themselves
        torch.onnx.export(
            Sorting(descending=descending),
            (torch.arange(9),),
            path,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            optimize=False,
            opset_version=OPSET,
            custom_translation_table=translations(),
            verbose=False,
        )
    compiled = openvino.Core().compile_model(str(path))
    values = torch.randint(-2, 3, (count,), generator=torch.Generator().manual_seed(0))
    found = compiled([values.numpy()])
    wanted = values.sort(stable=True, descending=descending)
    assert found[0].tolist() == wanted.values.tolist()
    assert found[1].tolist() == wanted.indices.tolist()
