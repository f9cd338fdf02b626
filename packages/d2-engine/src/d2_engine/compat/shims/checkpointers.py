"""Checkpointers whose steps get what detectron2's get: a path, and the content of a file."""

from typing import Any

from torch import nn

from d2_engine import checkpoint
from d2_engine.compat.shims.checkpoints import _IncompatibleKeys
from d2_engine.compat.shims.file_io import PathManager


class _Steps(checkpoint.Checkpointer):
    """Calls ``_load_file`` and ``_load_model``, which subclasses overwrite."""

    _read_from = ""
    _is_strict = False

    def __init__(self, model: nn.Module, save_dir: str = "", **options: Any) -> None:
        super().__init__(model, save_dir, **options)
        self.path_manager = PathManager

    def _read(self, path: str) -> dict[str, Any]:
        content: dict[str, Any] = self._load_file(path)
        return content

    def _load_file(self, filename: str) -> Any:
        """Read a file: a dict with ``model``."""
        return super()._read(filename)

    def _load_weights(self, path: str, checkpoint: dict[str, Any], *, strict: bool) -> None:
        self._read_from, self._is_strict = path, strict
        self._load_model(checkpoint)
        checkpoint.pop("model", None)

    def _load_model(self, checkpoint: Any) -> _IncompatibleKeys:
        """Load the weights of a file's content; return which did not fit."""
        names = set(checkpoint.get("model") or ())
        super()._load_weights(self._read_from, checkpoint, strict=self._is_strict)
        known = set(self.model.state_dict())
        return _IncompatibleKeys(sorted(known - names), sorted(names - known), [])


class Checkpointer(_Steps):
    """`d2_engine.checkpoint.Checkpointer` with the steps of fvcore's."""


class DetectionCheckpointer(_Steps, checkpoint.DetectionCheckpointer):
    """`d2_engine.checkpoint.DetectionCheckpointer` with the steps of detectron2's."""
