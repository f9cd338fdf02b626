"""What stands beside an exported model."""

import hashlib
import json
import pathlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from d2_modeling.export import (
    OUTPUT_NAMES,
    ExportableModel,
    PanopticMerging,
    Preprocessing,
    Sidecar,
    TensorSpec,
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
        lambda content: content.update(inputs=[]),
        lambda content: content["inputs"][0].update(dtype="float31"),
        lambda content: content["inputs"][0].update(shape=["N", "C", "H", "W"]),
        lambda content: content.update(sha256=None),
        lambda content: content.update(kind="points"),
        lambda content: content["outputs"].pop(),
        lambda content: content["outputs"].reverse(),
        lambda content: content.update(panoptic_merging={}),
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


class Panoptic(Detector):
    """As much of a panoptic model as the sidecar looks at."""

    sem_seg_head: Any = None
    predict_tensors: Any = None
    combine_overlap_thresh = 0.25
    combine_stuff_area_thresh = 4096
    combine_instances_score_thresh = 0.75

    def __init__(self) -> None:
        super().__init__()
        self.roi_heads = nn.Identity()


def written(path: pathlib.Path, **options: Any) -> pathlib.Path:
    """An artefact of a detector, and its sidecar."""
    path.write_bytes(b"graph")
    given: dict[str, Any] = {
        "format": "onnx",
        "inputs": (torch.zeros(2, 3, 32, 48), torch.tensor([[32, 48], [30, 20]])),
        "outputs": (torch.zeros(5, 4), torch.zeros(5), *torch.zeros(2, 5, dtype=torch.int64)),
        "preprocessing": Preprocessing(),
    }
    model = options.pop("model", None) or Detector()
    write_sidecar(path, ExportableModel(model), **{**given, **options})
    return path


EXAMPLES = {
    "images": (2, 3, 32, 48),
    "image_sizes": (2, 2),
    "boxes": (5, 4),
    "scores": (5,),
    "classes": (5,),
    "batch_index": (5,),
    "mask_probabilities": (5, 1, 28, 28),
    "keypoints": (5, 17, 3),
    "sem_seg": (2, 54, 8, 12),
}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("images", ("N", 3, "H", "W")),
        ("image_sizes", ("N", 2)),
        ("boxes", ("D", 4)),
        ("scores", ("D",)),
        ("classes", ("D",)),
        ("batch_index", ("D",)),
        ("mask_probabilities", ("D", 1, 28, 28)),
        ("keypoints", ("D", 17, 3)),
        ("sem_seg", ("N", 54, "H_out", "W_out")),
    ],
)
def test_the_sizes_of_each_tensor_have_names_where_they_change(
    name: str, shape: tuple[int | str, ...]
) -> None:
    spec = TensorSpec.of(name, torch.zeros(EXAMPLES[name], dtype=torch.float16))
    assert spec == TensorSpec(name=name, dtype="float16", shape=shape)


def test_every_output_of_every_kind_can_be_described() -> None:
    for names in OUTPUT_NAMES.values():
        for name in names:
            assert TensorSpec.of(name, torch.zeros(EXAMPLES[name])).name == name


@pytest.mark.parametrize("name", ["model.onnx", "a.b.c.pt2", "model"])
def test_the_sidecar_s_name_is_the_whole_name_and_json(name: str) -> None:
    assert sidecar_path(f"folder/{name}") == pathlib.Path("folder") / f"{name}.json"
    assert sidecar_path(pathlib.Path(name)) == pathlib.Path(f"{name}.json")


def test_checksums_are_the_sha256_of_the_files(artefact: pathlib.Path) -> None:
    wanted = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in (("model.onnx", b"graph"), ("model.onnx.data", b"weights"))
    }
    assert dict(read_sidecar(artefact).sha256) == wanted


def test_what_is_given_for_pixels_is_what_the_model_has(tmp_path: pathlib.Path) -> None:
    given = Preprocessing(inside=True, channels="RGB", pixel_mean=(9.0,), min_size=0)
    path = written(tmp_path / "m.onnx", preprocessing=given)
    found = read_sidecar(str(path)).preprocessing
    assert found == Preprocessing(
        inside=True, channels="RGB", pixel_mean=(1.0, 2.0, 3.0), pixel_std=(1.0,) * 3, min_size=0
    )


def test_only_panoptic_models_say_how_they_merge(tmp_path: pathlib.Path) -> None:
    outputs = [torch.zeros(EXAMPLES[name]) for name in OUTPUT_NAMES["panoptic"]]
    path = written(tmp_path / "m.onnx", model=Panoptic(), outputs=outputs)
    sidecar = read_sidecar(path)
    assert sidecar.kind == "panoptic"
    assert sidecar.panoptic_merging == PanopticMerging(
        overlap_threshold=0.25, stuff_area_limit=4096.0, instances_score_threshold=0.75
    )
    assert [spec.name for spec in sidecar.outputs] == list(OUTPUT_NAMES["panoptic"])
    assert read_sidecar(written(tmp_path / "n.onnx")).panoptic_merging is None


def test_precision_and_domains_are_read_and_have_defaults(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path / "m.onnx", precision="int8", custom_domains=["d2_ops"])
    assert read_sidecar(path).precision == "int8"
    assert read_sidecar(path).custom_domains == ("d2_ops",)
    content = json.loads(sidecar_path(path).read_text())
    for name in ("precision", "custom_domains"):
        del content[name]
    sidecar_path(path).write_text(json.dumps(content))
    assert read_sidecar(path).precision == "float32"
    assert read_sidecar(path).custom_domains == ()


@pytest.mark.parametrize(("format", "named"), [("onnx", True), ("torch-export", False)])
def test_versions_are_those_of_what_took_part(
    tmp_path: pathlib.Path, format: str, named: bool
) -> None:
    pytest.importorskip("onnx", reason="ONNX is not installed: an extra")
    versions = read_sidecar(written(tmp_path / "m.onnx", format=format)).versions
    assert versions["torch"] == version("torch")
    assert versions["python"].count(".") == 2
    assert ("onnx" in versions) == named
    assert "openvino" not in versions


@settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.text(max_size=8), max_size=4), st.lists(st.text(max_size=8), max_size=4))
def test_names_of_classes_may_be_any_text(
    tmp_path: pathlib.Path, things: list[str], stuff: list[str]
) -> None:
    path = written(tmp_path / "m.onnx", class_names=things, stuff_class_names=stuff)
    sidecar = read_sidecar(path)
    assert sidecar.class_names == tuple(things)
    assert sidecar.stuff_class_names == tuple(stuff)


def test_a_second_export_takes_the_place_of_the_first(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path / "m.onnx", class_names=["cat"])
    written(path, class_names=["dog"])
    assert read_sidecar(path).class_names == ("dog",)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.json"]
    assert sidecar_path(path).read_bytes().endswith(b"}\n")


def test_as_many_tensors_are_wanted_as_the_graph_has_names(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        written(tmp_path / "m.onnx", outputs=(torch.zeros(5, 4),))
    assert not sidecar_path(tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"sidecar_version": 1}\x00', b'"text"'])
def test_bytes_that_are_no_json_are_named(artefact: pathlib.Path, content: bytes) -> None:
    sidecar_path(artefact).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.onnx\.json is no sidecar"):
        read_sidecar(artefact)


@pytest.mark.parametrize("name", ["sub/model.bin", "/etc/hostname", "..", "."])
def test_files_outside_of_the_folder_are_not_looked_at(artefact: pathlib.Path, name: str) -> None:
    content = json.loads(sidecar_path(artefact).read_text())
    content["sha256"][name] = "0" * 64
    sidecar_path(artefact).write_text(json.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError), match="model.onnx"):
        read_sidecar(artefact)


def test_sidecars_are_values(artefact: pathlib.Path) -> None:
    sidecar = read_sidecar(artefact)
    assert sidecar == read_sidecar(artefact)
    with pytest.raises(AttributeError):
        sidecar.format = "openvino"  # type: ignore[misc]  # that is the point
