"""Whatever is wrong with a file, the reader says which file, what is wrong, and what to do."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from d2_config import get_cfg
from d2_data import load_proposals_into_dataset
from d2_data.datasets import load_coco_json
from d2_engine.checkpoint import DetectionCheckpointer
from d2_structures import BoxMode


def weights() -> dict[str, torch.Tensor]:
    return {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


def load_checkpoint(path: Path) -> None:
    DetectionCheckpointer(nn.Linear(3, 2)).load(str(path))


def pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def safetensors() -> bytes:
    from safetensors.torch import save

    return save(weights())


def flipped(content: bytes, position: int) -> bytes:
    damaged = bytearray(content)
    damaged[position] ^= 0xFF
    return bytes(damaged)


OBJECTS = pickled({"model": {"weight": np.array([object], object)}})
HTML = b"<!DOCTYPE html><html><body>404</body></html>"

CHECKPOINTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "safetensors cut short": ("m.safetensors", lambda: safetensors()[:-5], "cut short"),
    "safetensors with a damaged header": (
        "m.safetensors",
        lambda: flipped(safetensors(), 9),
        "damaged or cut short",
    ),
    "safetensors with a header of endless size": (
        "m.safetensors",
        lambda: b"\xff" * 8 + safetensors()[8:],
        "damaged or cut short",
    ),
    "no bytes as safetensors": ("m.safetensors", lambda: b"", "fetch it again"),
    "a web page as safetensors": ("m.safetensors", lambda: HTML, "web page.*fetch it again"),
    "text as .pth": ("m.pth", lambda: b"weights: see the wiki\n", "text, not weights: fetch"),
    "a web page as .pth": ("m.pth", lambda: HTML, "web page.*fetch it again"),
    "a web page as .pkl": ("m.pkl", lambda: HTML, "web page.*fetch it again"),
    "no bytes": ("m.pth", lambda: b"", "empty.*fetch"),
    "a checkpoint cut short": ("m.pth", lambda: saved(weights())[:700], "damaged or cut short"),
    "a list in place of weights": (
        "m.pth",
        lambda: saved({"model": [torch.ones(2)]}),
        "a list under 'model', wanted a state dict",
    ),
    "a list in place of all": ("m.pth", lambda: saved([1, 2]), "holds a list, wanted a dict"),
    "numbers as names": ("m.pth", lambda: saved({3: torch.ones(2)}), "called 3.*wanted names"),
    "None as a name": ("m.pkl", lambda: pickled({None: np.ones(2)}), "called None.*wanted names"),
    "arrays of objects": ("m.pkl", lambda: OBJECTS, "Python objects.*save its arrays"),
    "text as a weight": ("m.pkl", lambda: pickled({"weight": "x"}), "must be a tensor or an array"),
    "no weights": ("m.pth", lambda: saved({"model": {}}), "holds no weights: fetch it again"),
    "weights of another model": (
        "m.pth",
        lambda: saved({"conv": torch.ones(9)}),
        "another architecture.*use it with the config",
    ),
}


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    name, content, said = CHECKPOINTS[damage]
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors")
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(ValueError, match=rf"(?s){name}.*{said}") as caught:
        load_checkpoint(path)
    assert "enforce fail" not in str(caught.value)  # of compiled code
    assert ".cpp" not in str(caught.value)


def test_weights_that_are_not_finite_are_a_warning_with_file_and_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(saved(weights() | {"bias": torch.tensor([0.0, torch.nan])}))
    load_checkpoint(path)
    assert f"{path} holds NaN or infinity in 1 of 2 tensors: bias" in caplog.text
    assert "take an earlier checkpoint" in caplog.text


@pytest.mark.parametrize(
    "noted", [b"\xff\xfe\x00\x80", b"", b"\n", b"../../etc/passwd", b"nothing.pth", b"a" * 10**5]
)
def test_a_damaged_note_of_the_last_checkpoint_falls_back_to_the_newest(
    tmp_path: Path, noted: bytes
) -> None:
    saving = DetectionCheckpointer(nn.Linear(3, 2), str(tmp_path))
    saving.save("model_0000004")
    (tmp_path / "last_checkpoint").write_bytes(noted)
    model = nn.Linear(3, 2)
    DetectionCheckpointer(model, str(tmp_path)).resume_or_load("")
    assert model.weight.equal(saving.model.weight)


def proposals(**changes: Any) -> bytes:
    content = {
        "ids": [1],
        "boxes": [np.ones((2, 4), np.float32)],
        "objectness_logits": [np.ones(2, np.float32)],
        "bbox_mode": BoxMode.XYXY_ABS,
    }
    return pickled(content | changes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (proposals(ids=[1, 2]), "for each image, their lengths are 2, 1 and 1"),
        (proposals(objectness_logits=[np.ones(3)]), r"wanted a \(2,\) array"),
        (proposals(boxes=[np.ones((2, 5))]), r"wanted an \(N, 4\) array"),
        (proposals(boxes=[np.full((2, 4), np.inf)]), "finite numbers"),
        (proposals(bbox_mode=17), "'bbox_mode' 17; known are 0"),
        (proposals(ids=[2]), "no proposals for image_id 1; it was made for another dataset"),
        (pickled([1]), "must hold a dict, got list"),
        (HTML, "fetch it again"),
        (proposals()[:60], "fetch it again"),
        (OBJECTS, "Python objects"),
    ],
)
def test_damaged_proposals_are_named_with_what_was_wanted(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "proposals.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"proposals\.pkl' .*{said}"):
        load_proposals_into_dataset([{"image_id": 1}], path)


IMAGE = {"id": 1, "file_name": "a.png", "height": 4, "width": 5}
OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": 0}
CATEGORY = {"id": 1, "name": "cat"}


def coco(**changes: Any) -> str:
    content = {"images": [IMAGE], "annotations": [OBJECT], "categories": [CATEGORY]}
    return json.dumps(content | changes)


def test_null_in_place_of_annotations_is_none(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text(coco(annotations=None))
    (record,) = load_coco_json(tmp_path / "coco.json", tmp_path, "nulls")
    assert record["annotations"] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (coco(annotations={"1": OBJECT}), "'annotations' of type dict; wanted a list"),
        (coco(annotations=["x"]), "annotation"),
        (coco(annotations=[OBJECT | {"bbox": "0 0 2 2"}]), "annotation id 1.*'bbox'.*wanted"),
        (coco(annotations=[OBJECT | {"bbox": [0, 0, None, 2]}]), "annotation id 1.*'bbox'.*wanted"),
        (coco(annotations=[OBJECT | {"category_id": [1]}]), "annotation id 1.*category_id"),
        (coco(images={"1": IMAGE}), "'images' of type dict; wanted a list"),
        (coco(images=[IMAGE | {"file_name": 3}]), "image id 1 has 'file_name' 3; wanted"),
        (coco(images=[IMAGE | {"height": "tall"}]), "image id 1 has 'height' 'tall'; wanted"),
        (coco(images=[{"file_name": "a.png"}]), "lacks 'id'"),
        (coco(categories=[{"id": 1}]), "'name' is missing"),
        (coco(categories=[CATEGORY, CATEGORY]), "category id 1 occurs more than once"),
        (coco()[:50], "cut short|not valid JSON"),
        ("[" * 100_000, "deep"),
        ("[1]", "object"),
        ("\x00\x01", "JSON"),
    ],
)
def test_a_damaged_annotation_file_is_named_with_the_entry(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "coco.json").write_text(content)
    with pytest.raises((ValueError, KeyError), match=rf"(?s)coco\.json.*({said})"):
        load_coco_json(tmp_path / "coco.json", tmp_path, "damaged")


def test_annotations_of_unlisted_images_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "coco.json").write_text(coco(annotations=[OBJECT | {"image_id": 7}]))
    (record,) = load_coco_json(tmp_path / "coco.json", tmp_path, "unlisted")
    assert record["annotations"] == []
    assert "coco.json': 1 annotations belong to images that the file does not list" in caplog.text


SECRET = "correct horse battery staple"


NO_CONFIGS = ["{}", "root:x:0:{}\nuser: [", "- {}", "a: {{{}", "\x01{}"]


@pytest.mark.parametrize("content", [text.format(SECRET) for text in NO_CONFIGS])
def test_a_base_that_is_no_config_is_named_and_never_printed(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content)
    (tmp_path / "child.yaml").write_text("_BASE_: secret\nSEED: 1\n")
    with pytest.raises(ValueError, match="secret") as caught:
        get_cfg().merge_from_file(tmp_path / "child.yaml")
    error: BaseException | None = caught.value
    while error is not None and not error.__suppress_context__:
        assert SECRET not in str(error)
        assert "horse" not in str(error)
        error = error.__cause__ or error.__context__


def test_configs_that_build_on_each_other_are_a_named_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\n")
    with pytest.raises(ValueError, match=r"a\.yaml.*b\.yaml.*a\.yaml"):
        get_cfg().merge_from_file(tmp_path / "a.yaml")
