"""What files of weights may hold, and what of it is refused."""

import hashlib
import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from d2_modeling.weights import read_checkpoint, tensors_of


def state() -> dict[str, torch.Tensor]:
    return {"stem.weight": torch.arange(40.0).view(4, 10), "stem.bias": torch.ones(4)}


def saved(path: Path, content=None) -> Path:
    torch.save({"model": state()} if content is None else content, path)
    return path


def assert_is_state(read: dict) -> None:
    assert read.keys() == state().keys()
    assert all(torch.equal(read[name], value) for name, value in state().items())


def test_a_path_may_be_text_and_the_right_digest_is_accepted(tmp_path):
    path = saved(tmp_path / "m.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for given in (path, str(path)):
        assert_is_state(read_checkpoint(given, sha256=digest)["model"])


def test_what_is_beside_the_weights_is_read_too(tmp_path):
    content = {"model": state(), "optimizer": {"state": {0: torch.ones(2)}}, "iteration": 7}
    read = read_checkpoint(saved(tmp_path / "m.pth", content))
    assert read.keys() == content.keys()
    assert read["optimizer"]["state"][0].tolist() == [1, 1]


def test_a_bare_state_dict_is_wrapped_and_one_of_caffe2_keeps_its_key(tmp_path):
    assert read_checkpoint(saved(tmp_path / "m.pth", state())).keys() == {"model"}
    blobs = {"conv1_w": np.zeros((2, 3)), "weight_order": "abc"}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "text"}, 2))
    read = read_checkpoint(tmp_path / "m.pkl")
    assert read.keys() == {"blobs", "cfg"}
    assert read["blobs"]["weight_order"] == "abc"


def test_files_of_pycls_are_matched_by_their_endings(tmp_path):
    content = {"model_state": state(), "epoch": 3}
    read = read_checkpoint(saved(tmp_path / "m.pyth", content))
    assert_is_state(read["model"])
    assert read["matching_heuristics"] is True
    with pytest.raises(ValueError, match="weight 'model_state' must be .*save them under 'model'"):
        tensors_of(read_checkpoint(saved(tmp_path / "m.pth", content))["model"])


@pytest.mark.parametrize("key", ["model", "blobs"])
def test_weights_under_either_key_are_looked_at(tmp_path, key):
    with pytest.raises(ValueError, match=f"holds a list under '{key}', wanted a state dict"):
        read_checkpoint(saved(tmp_path / "m.pth", {"model": state()} | {key: [1]}))


def test_a_name_that_is_a_huge_number_is_not_written_out(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": {1 << 4000: np.ones(1)}}, 2))
    with pytest.raises(ValueError, match=r"a weight that is called a huge number \(int\)"):
        read_checkpoint(tmp_path / "m.pkl")
    with pytest.raises(ValueError, match=r"is called \(0, 0, .{30,60} \(tuple\)") as caught:
        read_checkpoint(saved(tmp_path / "m.pth", {"model": {(0,) * 999: torch.ones(1)}}))
    assert len(str(caught.value)) < 400


def test_tensors_come_to_the_cpu_and_share_memory_as_they_did(tmp_path):
    value = torch.arange(4.0)
    read = read_checkpoint(saved(tmp_path / "m.pth", {"a": value, "b": value.view(2, 2)}))["model"]
    read["a"].zero_()
    assert read["b"].device.type == "cpu"
    assert not read["b"].any()


# What is refused


class Opens:
    """Its pickle opens a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ["m.pkl", "m.pth"])
def test_a_pickle_that_would_run_code_is_refused_unexecuted(tmp_path, name, protocol):
    (tmp_path / name).write_bytes(pickle.dumps({"model": Opens(tmp_path / "run")}, protocol))
    with pytest.raises(ValueError, match=rf"{name}' cannot be loaded: .*(open|io|text)"):
        read_checkpoint(tmp_path / name)
    assert not (tmp_path / "run").exists()


def test_an_array_of_objects_is_refused_unexecuted(tmp_path):
    objects = np.array([Opens(tmp_path / "run")], dtype=object)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": {"w": objects}}, 2))
    with pytest.raises(ValueError, match=r"m\.pkl' cannot be loaded"):
        read_checkpoint(tmp_path / "m.pkl")
    assert not (tmp_path / "run").exists()


def test_a_whole_model_is_refused_with_the_remedy(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pth")
    with pytest.raises(ValueError, match=r"refers to torch\.nn\S*Linear: .*save its state dict"):
        read_checkpoint(tmp_path / "m.pth")


def test_a_pickle_that_torch_cannot_follow_is_told_without_its_advice(tmp_path):
    with pytest.raises(ValueError, match=r"Unsupported operand \d+ \(it may be damaged") as caught:
        read_checkpoint(saved(tmp_path / "m.pth", {"model": {1 << 4000: torch.ones(1)}}))
    for advice in ("weights_only", "Check the doc", "trusted source"):
        assert advice not in str(caught.value)


def test_a_damaged_file_is_named_with_those_beside_it(tmp_path):
    for name in ("other.pth", "good.pkl", "x.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m.pth").write_bytes(b"")
    message = r"the folder also has good\.pkl, other\.pth, x\.safetensors$"
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "m.pth")


def test_of_many_neighbours_the_last_are_named(tmp_path):
    for index in range(20):
        (tmp_path / f"model_{index:02}.pth").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"has model_12\.pth, .*model_19\.pth$"):
        read_checkpoint(tmp_path / "model.pth")


def test_without_safetensors_its_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "m.safetensors").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"m\.safetensors is .*'d2-modeling\[safetensors\]'"):
        read_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error_of_permission(tmp_path):
    path = saved(tmp_path / "m.pth")
    path.chmod(0)
    with pytest.raises(PermissionError):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["old.pth", "zoo.pkl"])
def test_old_files_that_were_cut_short_are_named(tmp_path, kind, share):
    path = tmp_path / kind
    if kind == "old.pth":
        torch.save(state(), path, _use_new_zipfile_serialization=False)
    else:
        arrays = {name: value.numpy() for name, value in state().items()}
        path.write_bytes(pickle.dumps({"model": arrays}, 2))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=f"{kind}' cannot be loaded"):
        read_checkpoint(path)


def test_an_archive_that_is_no_file_of_torch_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("notes/readme.txt", "hello")
    with pytest.raises(ValueError, match=r"m\.pth' cannot be loaded: ") as caught:
        read_checkpoint(tmp_path / "m.pth")
    assert "enforce fail" not in str(caught.value)
    assert "Exception raised from" not in str(caught.value)
