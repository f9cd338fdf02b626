"""Checkpoints of detectors and of the backbones they start from."""

from typing import Any

import torch.distributed as dist
from torch import nn

from d2_config.files import local_path
from d2_engine.checkpoint.checkpointer import Checkpointer
from d2_modeling.weights import WeightMatch, match_checkpoint, read_checkpoint
from d2_structures import comm

_HEURISTICS = "?matching_heuristics=True"


class DetectionCheckpointer(Checkpointer):
    """:class:`Checkpointer` that also understands model-zoo files and ImageNet backbones.

    * Zoo ``.pkl`` files, including those with Caffe2's names, are read by an unpickler that
      admits arrays and plain containers only.
    * Backbones with zoo, Caffe2, torchvision or timm names are put where the model has its
      backbone; detectors of Detectron and torchvision get our names.
    * ``detectron2://`` paths and ``https://`` URLs are downloaded into a cache folder.
    * ``?matching_heuristics=True`` behind a path allows names that match the model's at their
      ends only, as those of a bare backbone do.
    * In distributed training a file only has to exist on the main process.

    Args:
        model: a detector, maybe wrapped in DistributedDataParallel.
        save_dir: folder to save to and to find checkpoints in.
        save_to_disk: by default only the main process saves.
        checkpointables: further objects with a state, e.g. ``trainer=trainer``.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)

    def _candidates(self) -> list[str]:
        """What the main process may resume from."""
        return comm.all_gather(super()._candidates())[0]

    def _read(self, path: str) -> dict[str, Any]:
        path, by_suffix, _ = path.partition(_HEURISTICS)
        checkpoint = self._read_everywhere(path)
        if by_suffix:
            checkpoint["matching_heuristics"] = True
        return checkpoint

    def _read_everywhere(self, path: str) -> dict[str, Any]:
        """Read a file in every process that has it; it is read in all of them or in none."""
        if all(comm.all_gather(local_path(path).is_file())):
            content = _read_or_error(path)
            errors = comm.all_gather(content if isinstance(content, Exception) else None)
            error = content if isinstance(content, Exception) else next(filter(None, errors), None)
        else:
            held: list[Any] = [_read_or_error(path) if comm.is_main_process() else None]
            if comm.get_world_size() > 1:
                dist.broadcast_object_list(held, src=0)
            content = held[0]
            error = content if isinstance(content, Exception) else None
        if error is not None:
            raise error
        assert isinstance(content, dict)
        return content

    def _match(self, checkpoint: dict[str, Any]) -> WeightMatch:
        by_suffix = bool(checkpoint.pop("matching_heuristics", False))
        weights = checkpoint.pop("model" if "model" in checkpoint else "blobs")
        return match_checkpoint(self.model.state_dict(), weights, by_suffix=by_suffix)


def _read_or_error(path: str) -> dict[str, Any] | Exception:
    """Read on the main process; an error is for every process to raise."""
    try:
        return read_checkpoint(path)
    except (OSError, ValueError, ImportError) as error:
        return error
