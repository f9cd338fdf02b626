"""Save and load a model together with whatever else has a state."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from d2_config.atomic_file import replacing, write_atomically
from d2_engine.checkpoint.averaged_weights import ema_weights
from d2_engine.checkpoint.compatibility import check_same_architecture, is_derived
from d2_engine.checkpoint.reading import read_checkpoint
from d2_engine.wrapped_models import unwrapped
from d2_modeling.weights import WeightMatch, match_weights

logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "last_checkpoint"

# What torch says when a stream refuses bytes.
_WRITING_FAILED = ("PytorchStreamWriter", "inline_container", "No space left")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Checkpointable(Protocol):
    """Anything that can give its state away and take it back."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain containers."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore a state."""


class Checkpointer:
    """Save and load a model and further objects with a state.

    Files are written atomically: a checkpoint is complete or absent, whenever the process
    dies. The name of the newest one is kept in the file ``last_checkpoint`` beside it.

    Args:
        model: a module; inside DistributedDataParallel or ``torch.compile`` it is what is saved.
        save_dir: folder to save to and to find checkpoints in.
        save_to_disk: if false, :meth:`save` does nothing.
        checkpointables: further objects with ``state_dict()`` and ``load_state_dict()``, e.g.
            ``optimizer=optimizer``.

    Example:
        >>> Checkpointer(model, "output", optimizer=optimizer).save("model_999", epoch=3)
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool = True,
        **checkpointables: Any,
    ) -> None:
        self.model = unwrapped(model)
        self.save_dir = os.fspath(save_dir)
        self.save_to_disk = save_to_disk
        self.checkpointables: dict[str, Checkpointable] = {}
        for key, checkpointable in checkpointables.items():
            self.add_checkpointable(key, checkpointable)

    def add_checkpointable(self, key: str, checkpointable: Any) -> None:
        """Also save and load ``checkpointable``, under ``key``.

        Raises:
            KeyError: if the key is taken.
            TypeError: if the object has no ``state_dict`` and ``load_state_dict``.
        """
        if key in self.checkpointables or key == "model":
            raise KeyError(f"the key {key!r} is taken in this checkpointer; choose another")
        if not hasattr(checkpointable, "state_dict") or not hasattr(
            checkpointable, "load_state_dict"
        ):
            raise TypeError(
                f"{key}={type(checkpointable).__name__} cannot be saved: it needs the methods "
                "state_dict() and load_state_dict()"
            )
        self.checkpointables[key] = checkpointable

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` and make it the last checkpoint.

        Args:
            name: file name without ending.
            kwargs: extra data, returned by :meth:`load`.

        Raises:
            OSError: if it cannot be written, as on a full disk. An earlier file of the same name
                and the note of the last checkpoint stay as they were.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data: dict[str, Any] = {"model": self.model.state_dict()}
        for key, checkpointable in self.checkpointables.items():
            data[key] = checkpointable.state_dict()
        data.update(kwargs)
        path = Path(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint %s", path)
        with _naming_failure(path), replacing(path) as temporary:
            torch.save(data, temporary)
        self.tag_last_checkpoint(path.name)

    def load(
        self,
        path: str,
        checkpointables: list[str] | None = None,
        *,
        strict: bool = False,
        prefer_ema: bool = False,
    ) -> dict[str, Any]:
        """Load weights and states.

        Weights that do not fit by name or shape are left out and reported, and so are objects
        whose state the file lacks.

        Args:
            path: a checkpoint file or its URL; empty loads nothing.
            checkpointables: keys of the states to load; by default all that the file has.
            strict: every weight of the model and of the file has to fit.
            prefer_ema: load averaged weights in place of the last ones if the file has them:
                for a model that is to be used, not for one whose training is to go on.

        Returns:
            What the file holds beyond that, e.g. the extra data of :meth:`save`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or made by a model of another architecture.
        """
        if not path:
            logger.info("No checkpoint given: the model keeps its initial weights")
            return {}
        logger.info("Loading checkpoint %s", path)
        checkpoint = self._read(os.fspath(path))
        if prefer_ema and (averaged := ema_weights(checkpoint)) is not None:
            logger.info("Taking the averaged weights (EMA) of the checkpoint")
            checkpoint["model"] = averaged
        self._load_model(os.fspath(path), checkpoint, strict=strict)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in checkpoint:
                self.checkpointables[key].load_state_dict(checkpoint.pop(key))
            else:
                logger.warning(
                    "Checkpoint %s holds no state of %r, which begins anew (a trainer at "
                    "iteration 0) with the weights of the checkpoint",
                    path,
                    key,
                )
        return checkpoint

    def has_checkpoint(self) -> bool:
        """Return whether the folder has a last checkpoint."""
        return Path(self.save_dir, LAST_CHECKPOINT).is_file()

    def get_checkpoint_file(self) -> str:
        """Return the path of the last checkpoint, or "" if there is none."""
        try:
            name = Path(self.save_dir, LAST_CHECKPOINT).read_text(encoding="utf-8").strip()
        except OSError:
            return ""
        return os.path.join(self.save_dir, name)

    def get_all_checkpoint_files(self) -> list[str]:
        """Return the paths of all ``.pth`` files in the folder, sorted."""
        return sorted(str(path) for path in Path(self.save_dir).glob("*.pth") if path.is_file())

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Continue from the last checkpoint, or begin with the weights of ``path``.

        With ``resume`` and a last checkpoint in the folder, everything in it is loaded, and it
        has to fit. Otherwise only the weights of ``path`` are: the averaged ones if it has them.
        """
        if resume and self.has_checkpoint():
            return self.load(self.get_checkpoint_file(), strict=True)
        return self.load(path, checkpointables=[], prefer_ema=True)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note the name of the newest checkpoint."""
        write_atomically(Path(self.save_dir, LAST_CHECKPOINT), last_filename_basename)

    def _read(self, path: str) -> dict[str, Any]:
        return read_checkpoint(path)

    def _match(self, checkpoint: dict[str, Any]) -> WeightMatch:
        """Take the state dict out of a file's content and fit it to the model."""
        return self._match_names(tensors_of(checkpoint.pop("model")))

    def _match_names(self, tensors: dict[str, Tensor], *, by_suffix: bool = False) -> WeightMatch:
        tensors = {name: value for name, value in tensors.items() if not is_derived(name)}
        return match_weights(self.model.state_dict(), tensors, by_suffix=by_suffix)

    def _load_model(self, path: str, checkpoint: dict[str, Any], *, strict: bool) -> None:
        match = self._match(checkpoint)
        check_same_architecture(path, match, strict=strict)
        self.model.load_state_dict(match.state_dict, strict=False)


@contextmanager
def _naming_failure(path: Path) -> Iterator[None]:
    """Turn what torch or the system raise when a file cannot be written into one plain error."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        from_torch = isinstance(error, RuntimeError)
        if from_torch and not any(sign in str(error) for sign in _WRITING_FAILED):
            raise
        if not from_torch and getattr(error, "errno", None) not in _NO_SPACE:
            raise
        raise OSError(
            f"checkpoint {str(path)!r} could not be written, probably because the disk is full or "
            f"a quota is used up ({_free_space(path)}); earlier checkpoints are as they were. Make "
            "room, then resume the run"
        ) from error


def _free_space(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 2**20:,.0f} MiB are free"
    except OSError:
        return "free space unknown"


def tensors_of(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return tensors for arrays, and names without the prefix of DistributedDataParallel.

    Raises:
        ValueError: if a value is neither a tensor nor an array; names it.
    """
    tensors = {name: _as_tensor(name, value) for name, value in state_dict.items()}
    prefix = "module."
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _as_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return torch.from_numpy(np.array(value))
    raise ValueError(f"weight {name!r} must be a tensor or an array, got {type(value).__name__}")
