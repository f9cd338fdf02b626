"""Models work in the formats that the README says, and are refused where it says so."""

import os
import pathlib
import sys

import pytest

from d2_modeling.export.formats import FORMATS

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from format_table import exported, record, table, table_of_readme  # of this folder
from tensorrt_parser import unlisted
from tiny_models import MODELS

_PACKAGES = {"onnx": ("onnxscript", "onnxruntime"), "openvino": ("onnxscript", "openvino")}
_ALL = os.environ.get("D2_EXPORT_ALL") == "1"
# Tracing takes a second; the exporters of PyTorch take ten or more for each model.
_QUICK = {(name, kind) for name in MODELS for kind in FORMATS if kind.startswith("torchscript")}
# OpenVINO's files are made by way of torch.export and ONNX.
_QUICK |= {("FCOS", "openvino"), ("Faster R-CNN", "onnx"), ("SemanticSegmentor", "torch-export")}
_QUICK |= {("Rotated Faster R-CNN", "openvino")}  # refused at once
# Positions of transformers are resized cubically, among others; the rest calls operators of d2-ops.
_NOT_FOR_TENSORRT = {"Mask R-CNN with ViTDet"}
_NOT_FOR_TENSORRT |= {"Rotated Faster R-CNN", "FCOS with deformable convolutions"}


def test_the_table_of_the_readme_is_made_of_the_record() -> None:
    assert table_of_readme() == table(record())


def test_the_record_has_every_model() -> None:
    assert list(record()) == list(MODELS)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_works_in_the_recorded_formats_and_is_refused_in_others(
    name: str, format: str, tmp_path: pathlib.Path
) -> None:
    if not (_ALL or (name, format) in _QUICK):
        pytest.skip("takes long; nox -s export runs every model in every format")
    if format not in record()[name]:
        pytest.skip("format_table.py has not tried it yet")
    for package in _PACKAGES.get(format, ()):
        pytest.importorskip(package, reason=f"{format} needs {package}")
    reason = exported(name, format, tmp_path)
    assert (reason == "") == record()[name][format], reason
    assert bool(list(tmp_path.iterdir())) == (reason == "")
    if format == "onnx" and reason == "":
        onnx = pytest.importorskip("onnx", reason="the graph is read by the package onnx")
        found = unlisted(onnx.load(tmp_path / "model.bin"))
        assert (found == []) == (name not in _NOT_FOR_TENSORRT), found
