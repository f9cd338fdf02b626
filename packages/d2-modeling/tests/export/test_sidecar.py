"""What stands beside an exported model."""

import json
import pathlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling.export import (
    ExportableModel,
    Preprocessing,
    Sidecar,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)


class Detector(nn.Module):
    """As much of a detector as the sidecar looks at."""

    head: Any = None
    head_in_features = ("p3",)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.ones(3, 1, 1))


@pytest.fixture
def artefact(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    inputs = torch.zeros(2, 3, 32, 48), torch.tensor([[32, 48], [30, 20]])
    outputs = torch.zeros(5, 4), torch.zeros(5), *torch.zeros(2, 5, dtype=torch.int64)
    write_sidecar(
        path,
        ExportableModel(Detector()),
        format="onnx",
        inputs=inputs,
        outputs=outputs,
        preprocessing=Preprocessing(min_size=640, max_size=960),
        class_names=["cat", "dog"],
        further_files=[tmp_path / "model.onnx.data"],
    )
    return path


def test_what_is_written_is_read(artefact: pathlib.Path) -> None:
    sidecar = read_sidecar(artefact)
    assert isinstance(sidecar, Sidecar)
    assert (sidecar.format, sidecar.kind, sidecar.class_names) == ("onnx", "boxes", ("cat", "dog"))
    assert sidecar.preprocessing.pixel_mean == (1.0, 2.0, 3.0)
    assert (sidecar.preprocessing.min_size, sidecar.preprocessing.max_size) == (640, 960)
    assert sorted(sidecar.sha256) == ["model.onnx", "model.onnx.data"]
    assert sidecar.versions["torch"] == version("torch")


def test_sizes_that_change_are_names_and_the_others_numbers(artefact: pathlib.Path) -> None:
    content = json.loads(sidecar_path(artefact).read_text())
    assert content["inputs"] == [
        {"name": "images", "dtype": "float32", "shape": ["N", 3, "H", "W"]},
        {"name": "image_sizes", "dtype": "int64", "shape": ["N", 2]},
    ]
    assert content["outputs"][0] == {"name": "boxes", "dtype": "float32", "shape": ["D", 4]}
    assert [each["name"] for each in content["outputs"]][1:] == ["scores", "classes", "batch_index"]


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
def test_a_file_that_was_changed_is_refused(artefact: pathlib.Path, name: str) -> None:
    (artefact.parent / name).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"{name} does not fit its sidecar.*another export"):
        read_sidecar(artefact)


def test_a_file_that_is_missing_is_named(artefact: pathlib.Path) -> None:
    (artefact.parent / "model.onnx.data").unlink()
    with pytest.raises(FileNotFoundError, match="needs model.onnx.data in its folder"):
        read_sidecar(artefact)


def test_an_artefact_without_sidecar_is_refused(artefact: pathlib.Path) -> None:
    sidecar_path(artefact).unlink()
    with pytest.raises(FileNotFoundError, match="has no sidecar model.onnx.json"):
        read_sidecar(artefact)


def test_an_artefact_under_another_name_is_refused(artefact: pathlib.Path) -> None:
    renamed = artefact.rename(artefact.with_name("other.onnx"))
    sidecar_path(artefact).rename(sidecar_path(renamed))
    with pytest.raises(ValueError, match=r"describes \['model.onnx', .*not other.onnx"):
        read_sidecar(renamed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.update(sidecar_version=99),
        lambda content: content.pop("outputs"),
        lambda content: content.update(more=1),
        lambda content: content["preprocessing"].pop("pixel_mean"),
        lambda content: content["sha256"].update({"../model.onnx": "0"}),
        lambda content: content.update(inputs=[3]),
        lambda content: content.update(sha256=None),
    ],
)
def test_a_sidecar_that_cannot_be_understood_is_named(
    artefact: pathlib.Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    content = json.loads(sidecar_path(artefact).read_text())
    damage(content)
    sidecar_path(artefact).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="model.onnx.json is no sidecar.*export the model again"):
        read_sidecar(artefact)


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "null", "[" * 100_000])
def test_what_is_no_json_object_is_named(artefact: pathlib.Path, text: str) -> None:
    sidecar_path(artefact).write_text(text)
    with pytest.raises(ValueError, match="is no sidecar of an exported model"):
        read_sidecar(artefact)
