"""Exported models that are called like the model they came from."""

import hashlib
import pathlib
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from d2_modeling.export import ExportedModel, load_exported, sidecar_path

FORMATS = ["torchscript-trace", "torch-export", "onnx", "openvino"]

Artefact = Callable[[str], pathlib.Path]


def image(*size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, *size, generator=generator) * 140


def assert_same(got: Any, wanted: Any) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert [*one] == [*other] == ["instances"]
        found, eager = one["instances"], other["instances"]
        assert found.image_size == eager.image_size
        assert [*found.get_fields()] == [*eager.get_fields()]
        torch.testing.assert_close(found.pred_boxes.tensor, eager.pred_boxes.tensor)
        torch.testing.assert_close(found.scores, eager.scores)
        assert torch.equal(found.pred_classes, eager.pred_classes)


@pytest.mark.parametrize("format", FORMATS)
def test_an_artefact_gives_what_its_model_gives(
    format: str, artefact: Artefact, detector: Any
) -> None:
    loaded = load_exported(artefact(format), allow_unsafe=True)
    batch = [
        {"image": image(6, 8), "height": 12, "width": 4},
        {"image": image(9, 5, seed=1), "file_name": "b.jpg"},
        {"image": torch.zeros(3, 4, 11)},
    ]
    wanted = detector(batch)
    assert len(wanted[0]["instances"]) > 0
    assert len(wanted[2]["instances"]) == 0
    assert_same(loaded(batch), wanted)
    assert_same(loaded(batch[1:2]), wanted[1:2])


@pytest.mark.parametrize("format", FORMATS)
def test_an_artefact_finds_nothing_where_there_is_nothing(format: str, artefact: Artefact) -> None:
    loaded = load_exported(artefact(format), allow_unsafe=True)
    (result,) = loaded([{"image": torch.zeros(3, 7, 7, dtype=torch.uint8)}])
    assert len(result["instances"]) == 0
    assert result["instances"].pred_boxes.tensor.shape == (0, 4)


@pytest.mark.parametrize("format", FORMATS)
def test_threads_may_call_one_artefact_at_once(format: str, artefact: Artefact) -> None:
    loaded = load_exported(artefact(format), allow_unsafe=True)
    batches = [[{"image": image(40 + 10 * i, 300, seed=i)}] for i in range(4)]
    wanted = [loaded(batch) for batch in batches]
    with ThreadPoolExecutor(len(batches)) as pool:
        for _ in range(10):
            for got, alone in zip(pool.map(loaded, batches), wanted, strict=True):
                assert_same(got, alone)


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(4, 6, 8), torch.zeros(6, 8), torch.zeros(3, 6, 8) > 1, "a.jpg", None],
    ids=["channels", "rank", "bool", "text", "none"],
)
def test_bad_inputs_get_the_message_of_the_eager_model(
    bad: Any, artefact: Artefact, detector: Any
) -> None:
    batch = [{"image": image(6, 8)}, {"image": bad}]
    with pytest.raises(ValueError, match="input 1 wants") as eager:
        detector(batch)
    with pytest.raises(ValueError, match=f"^{re.escape(str(eager.value))}$"):
        load_exported(artefact("torchscript-trace"), allow_unsafe=True)(batch)


@pytest.mark.parametrize("entry", [torch.zeros(3, 6, 8), "a.jpg"])
def test_an_input_that_is_no_dict_is_named(entry: Any, artefact: Artefact, detector: Any) -> None:
    loaded = load_exported(artefact("torchscript-trace"), allow_unsafe=True)
    for model in (detector, loaded):
        with pytest.raises(ValueError, match="input 0 wants a dict with an image, got"):
            model([entry])


def test_no_images_give_no_results(artefact: Artefact) -> None:
    assert load_exported(artefact("torchscript-trace"), allow_unsafe=True)([]) == []


@pytest.mark.parametrize("format", ["torchscript-trace", "torch-export"])
def test_a_file_that_is_a_program_is_not_loaded_unless_asked(
    format: str, artefact: Artefact
) -> None:
    with pytest.raises(ValueError, match="runs code of whoever wrote it.*allow_unsafe=True"):
        load_exported(artefact(format))


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_file_that_is_data_needs_no_trust(format: str, artefact: Artefact) -> None:
    assert isinstance(load_exported(artefact(format)), ExportedModel)


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_artefact_is_refused_before_it_is_loaded(
    format: str, artefact: Artefact, tmp_path: pathlib.Path
) -> None:
    whole = artefact(format)
    for file in whole.parent.glob("model.*"):
        shutil.copy(file, tmp_path)
    damaged = tmp_path / whole.name
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match="does not fit its sidecar"):
        load_exported(damaged, allow_unsafe=True)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_is_not_of_its_format_is_named(
    format: str, artefact: Artefact, tmp_path: pathlib.Path
) -> None:
    whole = artefact(format)
    for file in whole.parent.glob("model.*"):
        shutil.copy(file, tmp_path)
    path = tmp_path / whole.name
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"nothing")
    sidecar = sidecar_path(path)
    text = sidecar.read_text().replace(before, hashlib.sha256(b"nothing").hexdigest())
    sidecar.write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}") as told:
        load_exported(path, allow_unsafe=True)
    assert "\n" not in str(told.value)


def test_a_format_of_another_version_is_named(artefact: Artefact, tmp_path: pathlib.Path) -> None:
    whole = artefact("onnx")
    for file in whole.parent.glob("model.*"):
        shutil.copy(file, tmp_path)
    sidecar = sidecar_path(tmp_path / whole.name)
    sidecar.write_text(sidecar.read_text().replace('"format": "onnx"', '"format": "coreml"'))
    with pytest.raises(ValueError, match="format 'coreml', which this version does not run"):
        load_exported(tmp_path / whole.name)
