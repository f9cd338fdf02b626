"""Files of weights: what is read, and what is said of a file that is none."""

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from d2_config.files import local_path
from d2_modeling.weights import (
    add_checksum,
    names_of_nonfinite,
    read_checkpoint,
    tensors_of,
    verify_checksums,
)


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"{name}.weight": torch.randn(40, 10, generator=generator) for name in ("stem", "body")}


def saved(path: Path, content=None, *, checksum: bool = False) -> Path:
    torch.save({"model": state(), "iteration": 3} if content is None else content, path)
    if checksum:
        add_checksum(path)
    return path


def assert_is_state(read: dict) -> None:
    assert read.keys() == state().keys()
    for name, value in state().items():
        assert torch.equal(torch.as_tensor(read[name]), value)


def test_torch_files_with_and_without_checksum_are_read(tmp_path):
    for checksum in (False, True):
        read = read_checkpoint(saved(tmp_path / "m.pth", checksum=checksum))
        assert_is_state(read["model"])
        assert read["iteration"] == 3


def test_other_readers_take_a_file_with_checksum_for_an_ordinary_one(tmp_path):
    path = saved(tmp_path / "m.pth", checksum=True)
    assert_is_state(torch.load(path, weights_only=True)["model"])
    assert_is_state(torch.load(path, weights_only=True, mmap=True)["model"])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"d2-crc32:")


def test_pickles_safetensors_and_old_torch_files_are_read(tmp_path):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    arrays = {name: value.numpy() for name, value in state().items()}
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({"model": arrays}, 2))
    safetensors_torch.save_file(state(), tmp_path / "m.safetensors")
    torch.save(state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": state()}, tmp_path / "named_otherwise.pkl")
    for name in ("zoo.pkl", "m.safetensors", "old.pth", "named_otherwise.pkl"):
        assert_is_state(tensors_of(read_checkpoint(tmp_path / name)["model"]))


def test_a_url_is_read_from_the_cache_and_an_expected_digest_is_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("D2_CACHE", str(tmp_path))
    url = "https://example.org/m.pth"
    local_path(url).parent.mkdir(parents=True)
    saved(local_path(url))
    assert_is_state(read_checkpoint(url)["model"])
    with pytest.raises(ValueError, match="wanted 0000"):
        read_checkpoint(local_path(url), sha256="0" * 64)


# Damage


@pytest.mark.parametrize("bit", range(40 * 8))
def test_each_flipped_bit_of_a_file_with_checksum_is_noticed(tmp_path, bit):
    path = saved(tmp_path / "m.pth", checksum=True)
    content = bytearray(path.read_bytes())
    position = bit * (len(content) * 8 - 1) // (40 * 8 - 1)  # from the first bit to the last
    content[position // 8] ^= 1 << position % 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.pth' cannot be loaded: .*damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("checksum", [False, True])
def test_a_file_that_was_cut_short_is_named(tmp_path, share, checksum):
    path = saved(tmp_path / "m.pth", checksum=checksum)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"m\.pth' cannot be loaded"):
        read_checkpoint(path)


@pytest.mark.parametrize("position", range(20))
def test_a_flipped_bit_in_weights_of_a_foreign_file_is_noticed(tmp_path, position):
    path = saved(tmp_path / "m.pth")
    content = bytearray(path.read_bytes())
    weights = state()["body.weight"].numpy().tobytes()
    content[content.index(weights) + position * len(weights) // 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum of 'm/data/1' in it does not agree"):
        read_checkpoint(path)


def test_a_file_that_was_written_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "m.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert verify_checksums(path) == ""
    assert_is_state(read_checkpoint(path)["model"])


def test_what_was_compared_is_told(tmp_path):
    assert verify_checksums(saved(tmp_path / "a.pth", checksum=True)) == "every byte"
    assert verify_checksums(saved(tmp_path / "b.pth")) == "each of its 8 parts"


def test_a_compressed_part_that_would_fill_the_memory_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(1_000_000))
    with pytest.raises(ValueError, match="would become 1000000 in memory"):
        read_checkpoint(tmp_path / "m.pth")


def test_a_checksum_is_given_once_and_to_torch_files_only(tmp_path):
    path = saved(tmp_path / "m.pth", checksum=True)
    with pytest.raises(ValueError, match="has a checksum already"):
        add_checksum(path)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="no torch file"):
        add_checksum(path)


def test_a_file_that_would_run_code_is_refused_unexecuted(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    torch.save({"model": state(), "extra": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth' .*refers to \S*open: .*could run code"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


# Files that are something else


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html>\n<html><body>Log in</body></html>", "a web page"),
        (b"Not Found\n", "it is text, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x1f\x8b\x08 and so on", "gzip"),
        (bytes(5000), "nothing but zeros"),
        (bytes(range(255, 0, -1)) * 9, "damaged or cut short"),
    ],
    ids=["empty", "web page", "text", "git lfs", "gzip", "zeros", "noise"],
)
def test_what_is_no_file_of_weights_is_told_by_its_content(tmp_path, suffix, content, said):
    pytest.importorskip("safetensors")
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "inline_container" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": [torch.ones(2)]}, "holds a list under 'model', wanted a state dict"),
        ({"model": None}, "holds a NoneType under 'model'"),
        ({"model": {3: torch.ones(2)}}, r"a weight that is called 3 \(int\)"),
        ({None: torch.ones(2)}, r"a weight that is called None \(NoneType\)"),
        ([1, 2], "holds a list, wanted a dict"),
        (torch.ones(2), "holds a Tensor, wanted a dict"),
    ],
)
def test_content_that_is_no_state_dict_is_named(tmp_path, content, said):
    with pytest.raises(ValueError, match=said):
        read_checkpoint(saved(tmp_path / "m.pth", content))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1.0], "got list"),
        ({"w": torch.ones(2)}, "save them under 'model'"),
        (np.array(["a"]), "an array of <U1"),
        (torch.eye(3).to_sparse(), "layout torch.sparse_coo"),
        (torch.empty(3, device="meta"), "on meta"),
    ],
)
def test_a_weight_that_is_no_tensor_is_named(value, said):
    with pytest.raises(ValueError, match=f"weight 'w' must be .*{said}"):
        tensors_of({"w": value})


def test_damaged_safetensors_are_named(tmp_path):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    path = tmp_path / "m.safetensors"
    safetensors_torch.save_file(state(), path)
    content = path.read_bytes()
    header = json.dumps({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    for damaged in (
        content[:-10],
        content[:6],
        b"\xff" * 8 + content[8:],
        struct.pack("<Q", len(header)) + header + bytes(4),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"m\.safetensors' cannot be loaded: \w+"):
            read_checkpoint(path)


def test_what_is_not_there_or_no_ordinary_file_is_named(tmp_path):
    saved(tmp_path / "model_final.pth")
    with pytest.raises(FileNotFoundError, match=r"finl\.pth' does not exist.*model_final\.pth"):
        read_checkpoint(tmp_path / "model_finl.pth")
    with pytest.raises(FileNotFoundError, match="is a folder; the folder has model_final"):
        read_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither does the folder"):
        read_checkpoint(tmp_path / "none" / "m.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(FileNotFoundError, match="a device or a pipe"):
        read_checkpoint(tmp_path / "pipe.pth")


def test_weights_that_are_not_finite_are_found_and_large_ones_are_not():
    weights = {
        "good": torch.ones(3),
        "nan": torch.tensor([1.0, float("nan")]),
        "infinite": torch.tensor([float("inf"), 1.0], dtype=torch.float16),
        "large": torch.full((3,), 60000.0, dtype=torch.float16),
        "count": torch.tensor(3),
    }
    assert names_of_nonfinite(weights) == ["nan", "infinite"]
