"""Reading files of weights without running code from them."""

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from d2_config.files import fetch
from d2_structures import ArrayPickleError, load_array_pickle

from .checksums import DamagedFileError, is_torch_archive, verify_checksums
from .file_kinds import describe_content

_MAX_BITS_SHOWN = 256
_WEIGHT_KEYS = ("model", "blobs")
_SUFFIXES = (".pth", ".pkl", ".safetensors", ".pt")


def read_checkpoint(path: str | Path, *, sha256: str | None = None) -> dict[str, Any]:
    """Read a checkpoint into a dict with the state dict under ``"model"``, on the CPU.

    ``.safetensors`` files hold a state dict, other files whose name ends in ``.pkl`` are pickles of
    the model zoo, and the rest are torch's, read with ``weights_only``. A file that is a bare state
    dict is wrapped. Nothing in a file is executed, and the checksums of torch files are compared
    with the content.

    Args:
        path: a file, or a URL, which is downloaded: see :func:`d2_config.files.fetch`.
        sha256: what the file's SHA-256 is, in hexadecimal digits.

    Returns:
        What the file holds; weights are tensors or arrays by their names.

    Raises:
        FileNotFoundError: if there is no such file; names those that lie beside it.
        ConnectionError: if a URL cannot be downloaded; says where to put the file by hand.
        ValueError: if it is damaged, no such file, or holds objects that are not loaded; names the
            file, what is wrong, and the remedy.
    """
    file = fetch(str(path), sha256=sha256)
    if not file.is_file():
        raise FileNotFoundError(_not_there(file))
    try:
        content = _reader_of(file)(file)
    except (ImportError, PermissionError):
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise ValueError(
            f"checkpoint {str(file)!r} cannot be loaded: {_reason(file, error)}"
            f"{_siblings(file.parent, file.name)}"
        ) from error
    return _with_weights(str(file), content, file.suffix)


def _reader_of(file: Path) -> Callable[[Path], Any]:
    if file.suffix == ".safetensors":
        return _read_safetensors
    if file.stat().st_size == 0:
        raise DamagedFileError("it is empty")
    if is_torch_archive(file):
        return _read_archive
    return load_array_pickle if file.suffix == ".pkl" else _read_old_torch_file


def _read_archive(file: Path) -> Any:
    verify_checksums(file)
    return _read_old_torch_file(file)


def _read_old_torch_file(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def _read_safetensors(file: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ImportError(
            f"{file.name} is a safetensors file: pip install 'd2-modeling[safetensors]'"
        ) from None
    return {"model": load_file(file)}


def _with_weights(name: str, content: Any, suffix: str) -> dict[str, Any]:
    """Return what a file holds with its weights under ``"model"`` or ``"blobs"``.

    Raises:
        ValueError: if that is not a dictionary of named values.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f"checkpoint {name!r} holds a {type(content).__name__}, wanted a dict with a state "
            "dict under 'model', or a state dict"
        )
    if suffix == ".pyth" and "model_state" in content:  # written by pycls or PySlowFast
        content = {"model": content["model_state"], "matching_heuristics": True}
    if not any(key in content for key in _WEIGHT_KEYS):
        content = {"model": content}
    for key in _WEIGHT_KEYS:
        if key in content:
            _check_names(name, key, content[key])
    return content


def _check_names(name: str, key: str, weights: Any) -> None:
    if not isinstance(weights, Mapping):
        raise ValueError(
            f"checkpoint {name!r} holds a {type(weights).__name__} under {key!r}, wanted a state "
            "dict: weights by their names"
        )
    for wrong in weights:
        if not isinstance(wrong, str):
            raise ValueError(
                f"checkpoint {name!r} has a weight that is called {_short(wrong)} "
                f"({type(wrong).__name__}), wanted names that are text"
            )


# Errors


def _short(key: Any) -> str:
    """A key of a dictionary as it is written, unless it is enormous."""
    if isinstance(key, int) and key.bit_length() > _MAX_BITS_SHOWN:
        return "a huge number"
    return repr(key)[:60]


def _not_there(file: Path) -> str:
    """Say what is in the place of a file."""
    if file.is_dir():
        return f"checkpoint {str(file)!r} is a folder{_siblings(file)}"
    if file.exists():
        return f"checkpoint {str(file)!r} is a device or a pipe, wanted an ordinary file"
    if not file.parent.is_dir():
        return f"checkpoint {str(file)!r} does not exist; neither does the folder it would be in"
    return f"checkpoint {str(file)!r} does not exist{_siblings(file.parent)}"


def _siblings(folder: Path, name: str = "") -> str:
    names = sorted(p.name for p in folder.iterdir() if p.suffix in _SUFFIXES and p.name != name)
    return f"; the folder{' also' if name else ''} has {', '.join(names[-8:])}" if names else ""


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, DamagedFileError):
        return f"{error}. It is damaged or cut short: fetch or train it again"
    kind = describe_content(file)
    if kind is not None:
        return kind
    if isinstance(error, ArrayPickleError):
        return str(error)
    if isinstance(error, pickle.UnpicklingError):
        return _refusal(str(error))
    return f"{_native_message(error)} (it may be damaged or cut short)"


def _refusal(text: str) -> str:
    """What torch says of a pickle that it does not read, without its advice to trust the file."""
    named = re.search(r"GLOBAL (\S+)", text)
    if named is not None:
        return (
            f"it refers to {named[1]}: objects other than tensors and plain containers are not "
            "loaded, because they could run code. If you trust the file, load it with torch.load "
            "and save its state dict"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Check the doc", "Weights only load"))]
    reason = lines[-1].rpartition("WeightsUnpickler error:")[2].strip() if lines else ""
    return f"{reason or 'it is no pickle'} (it may be damaged or cut short)"


def _native_message(error: Exception) -> str:
    """The first line of an error of compiled code, without the places in its sources."""
    lines = str(error).strip().splitlines()
    text = re.sub(r"\[enforce fail at [^\]]*\]\s*\.?\s*", "", lines[0] if lines else "")
    text = re.split(r"\. This is an internal|\s*Exception raised from", text)[0]
    return text.strip() or type(error).__name__
