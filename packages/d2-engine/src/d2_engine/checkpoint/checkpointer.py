"""Save and load a model together with whatever else has a state."""

import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from d2_config.files import full_disk_error, remove_leftovers, replacing
from d2_engine.checkpoint.averaged_weights import ema_weights
from d2_engine.checkpoint.compatibility import check_same_architecture, report_nonfinite
from d2_engine.checkpoint.files import CheckpointFiles
from d2_engine.sharding import all_divided_like, is_sharded, whole
from d2_engine.wrapped_models import unwrapped
from d2_modeling.weights import (
    WeightMatch,
    add_checksum,
    match_checkpoint,
    read_checkpoint,
)

logger = logging.getLogger(__name__)

# What torch says when a stream refuses bytes.
_WRITING_FAILED = ("PytorchStreamWriter", "inline_container", "No space left")


class Checkpointable(Protocol):
    """Anything that can give its state away and take it back."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain containers."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore a state."""


class Checkpointer:
    """Save and load a model and further objects with a state.

    Files are written atomically: a checkpoint is complete or absent, whenever the process or the
    machine dies, and carries a checksum that is compared when it is read. The name of the newest
    one is kept in the file ``last_checkpoint`` beside it.

    Args:
        model: a module; inside DistributedDataParallel or ``torch.compile`` it is what is saved.
        save_dir: folder to save to and to find checkpoints in.
        save_to_disk: if false, :meth:`save` does nothing.
        checkpointables: further objects with ``state_dict()`` and ``load_state_dict()``, e.g.
            ``optimizer=optimizer``.

    Attributes:
        resumed_from (str): the checkpoint that :meth:`resume_or_load` went on from; "" for none.

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
        self.resumed_from = ""
        self._is_tidy = False
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
            DiskFullError: (an ``OSError``) if there is no space. An earlier file of the same name
                and the note of the last checkpoint stay as they were.
        """
        if not self.save_dir or not (self.save_to_disk or is_sharded(self.model)):
            return
        data: dict[str, Any] = {"model": self.model.state_dict()}
        for key, checkpointable in self.checkpointables.items():
            data[key] = checkpointable.state_dict()
        if is_sharded(self.model):
            data = whole(data)  # every process has a share and gives it
            if not self.save_to_disk:
                return
        data.update(kwargs)
        path = Path(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint %s", path)
        self._remove_leftovers()
        with replacing(path) as temporary, _naming_full_disk(path):
            torch.save(data, temporary)
            add_checksum(temporary)
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
        path = os.fspath(path)
        keys = list(self.checkpointables) if checkpointables is None else checkpointables
        return self._take(path, self._read(path), keys, strict=strict, prefer_ema=prefer_ema)

    def _take(
        self,
        path: str,
        checkpoint: dict[str, Any],
        keys: Sequence[str],
        *,
        strict: bool,
        prefer_ema: bool = False,
    ) -> dict[str, Any]:
        """Give model and objects what was read from a file; return the rest of it."""
        if prefer_ema and (averaged := ema_weights(checkpoint)) is not None:
            logger.info("Taking the averaged weights (EMA) of the checkpoint")
            checkpoint["model"] = averaged
        self._load_weights(path, checkpoint, strict=strict)
        for key in keys:
            if key in checkpoint:
                self._load_state(path, key, checkpoint.pop(key))
            else:
                logger.warning(
                    "Checkpoint %s holds no state of %r, which begins anew (a trainer at "
                    "iteration 0) with the weights of the checkpoint",
                    path,
                    key,
                )
        return checkpoint

    def _load_state(self, path: str, key: str, state: Any) -> None:
        try:
            self.checkpointables[key].load_state_dict(state)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"checkpoint {path!r} holds a state of {key!r} that cannot be taken back "
                f"({type(error).__name__}: {error}); it was saved by other code, or changed since"
            ) from error

    def has_checkpoint(self) -> bool:
        """Return whether the folder has a checkpoint to resume from."""
        return bool(self._candidates())

    def get_checkpoint_file(self) -> str:
        """Return the path of the last checkpoint, or "" if there is none."""
        return next(iter(self._candidates()), "")

    def get_all_checkpoint_files(self) -> list[str]:
        """Return the paths of all ``.pth`` files in the folder, sorted."""
        return [str(path) for path in CheckpointFiles(self.save_dir).all()]

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Continue from the last checkpoint, or begin with the weights of ``path``.

        With ``resume`` and a checkpoint in the folder, everything in it is loaded, and it has to
        fit. If the last one is missing or damaged, the newest good one takes its place, and a
        warning names it. Otherwise only the weights of ``path`` are: the averaged ones if it has
        them.

        Raises:
            ValueError: if all checkpoints of the folder are damaged, or the last does not fit.
        """
        self.resumed_from = ""
        candidates = self._candidates() if resume else []
        if not candidates:
            return self.load(path, checkpointables=[], prefer_ema=True)
        self._remove_leftovers()
        path, checkpoint = self._read_newest(candidates)
        rest = self._take(path, checkpoint, list(self.checkpointables), strict=True)
        self.resumed_from = path
        return rest

    def _read_newest(self, candidates: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Return path and content of the first checkpoint that can be read."""
        reasons: list[str] = []
        for path in candidates:
            logger.info("Loading checkpoint %s", path)
            try:
                checkpoint = self._read(path)
            except (FileNotFoundError, ValueError) as error:
                reasons.append(str(error))
                continue
            if reasons:
                logger.warning("%s. Going on from %s instead", ". ".join(reasons), path)
            return path, checkpoint
        raise ValueError(
            f"there is no checkpoint to resume from in {self.save_dir!r}: {'; '.join(reasons)}. "
            "Put a good one there, or begin anew in another folder"
        )

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Note the name of the newest checkpoint."""
        CheckpointFiles(self.save_dir).note_last(last_filename_basename)

    def _candidates(self) -> list[str]:
        """What may be resumed from, the best first."""
        return [str(path) for path in CheckpointFiles(self.save_dir).to_resume_from()]

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left in the folder, once."""
        if self._is_tidy or not self.save_dir or not self.save_to_disk:
            return
        self._is_tidy = True
        for path in remove_leftovers(self.save_dir):
            logger.info("Removed %s, left behind by a process that was killed", path)

    def _read(self, path: str) -> dict[str, Any]:
        return read_checkpoint(path)

    def _match(self, checkpoint: dict[str, Any]) -> WeightMatch:
        """Take the state dict out of a file's content and fit it to the model."""
        if "model" not in checkpoint:
            raise ValueError(
                "the checkpoint holds Caffe2's blobs, whose names DetectionCheckpointer understands"
            )
        return match_checkpoint(self.model.state_dict(), checkpoint.pop("model"))

    def _load_weights(self, path: str, checkpoint: dict[str, Any], *, strict: bool) -> None:
        try:
            match = self._match(checkpoint)
        except ValueError as error:
            raise ValueError(f"checkpoint {path!r} does not fit: {error}") from error
        check_same_architecture(path, match, strict=strict)
        report_nonfinite(path, match.state_dict)
        weights = all_divided_like(match.state_dict, self.model.state_dict())
        self.model.load_state_dict(weights, strict=False)


@contextmanager
def _naming_full_disk(path: Path) -> Iterator[None]:
    """Turn what torch raises when a stream refuses bytes into the error of a full disk."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _WRITING_FAILED):
            raise
        raise full_disk_error(path, errno.ENOSPC) from error
