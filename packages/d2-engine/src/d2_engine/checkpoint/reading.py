"""Reading checkpoint files without running code from them."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from d2_config.remote_files import fetch
from d2_engine.checkpoint.restricted_pickle import load_restricted_pickle


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint into a dict with the state dict under ``"model"``, on the CPU.

    ``.pkl`` files are model-zoo pickles, ``.safetensors`` files hold a state dict, anything
    else is a torch file, read with ``weights_only``. A file that is a bare state dict is
    wrapped. Nothing in a file is executed.

    Args:
        path: a file, or a URL, which is downloaded: see :func:`fetch`.

    Raises:
        FileNotFoundError: if there is no such file.
        ConnectionError: if a URL cannot be downloaded; says where to put the file by hand.
        ValueError: if it is damaged, or holds objects that are not loaded; names the file.
    """
    path = fetch(path) if isinstance(path, str) else path
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist{_siblings(path)}")
    if path.suffix == ".safetensors":
        return {"model": _read_safetensors(path)}
    try:
        if path.suffix == ".pkl":
            content = load_restricted_pickle(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"checkpoint {str(path)!r} cannot be loaded: {_first_lines(error)}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"checkpoint {str(path)!r} holds a {type(content).__name__}, wanted a dict with "
            "a state dict under 'model', or a state dict"
        )
    if path.suffix == ".pyth" and "model_state" in content:  # written by pycls or PySlowFast
        return {"model": content["model_state"], "matching_heuristics": True}
    return content if "model" in content or "blobs" in content else {"model": content}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ImportError(
            f"{path.name} is a safetensors file: pip install 'd2-engine[safetensors]'"
        ) from None
    return load_file(path)


def _siblings(path: Path) -> str:
    """Name the checkpoints that lie in the same folder."""
    if not path.parent.is_dir():
        return f"; neither does the folder {str(path.parent)!r}"
    names = sorted(
        p.name for p in path.parent.iterdir() if p.suffix in (".pth", ".pkl", ".safetensors")
    )
    return f"; the folder has {', '.join(names[:8])}" if names else ""


def _first_lines(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error).lower():
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line), "")
        return (
            "it holds Python objects other than tensors and plain containers, which are not "
            f"loaded because they could run code. {reason.strip()}".rstrip()
        )
    text = str(error).strip() or type(error).__name__
    return f"{text.splitlines()[0]} (it may be damaged or cut short)"
