"""Data-parallel models."""

import warnings
from typing import Any

from torch import nn

from d2_engine.sharding import is_sharded
from d2_structures import comm


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """Wrap a model in DistributedDataParallel if there is more than one process.

    Args:
        model: already on its device. One whose parameters are divided (``RUN.SHARDING``,
            ``train.sharding``) exchanges gradients by itself and is returned as it is.
        fp16_compression: exchange gradients in float16.
        kwargs: further arguments of DistributedDataParallel.
    """
    if comm.get_world_size() == 1 or is_sharded(model):
        return model
    from torch.nn.parallel import DistributedDataParallel

    if "device_ids" not in kwargs and next(model.parameters()).is_cuda:
        kwargs["device_ids"] = [comm.get_local_rank()]
    with warnings.catch_warnings():
        # Configs say `broadcast_buffers`, which torch knows in all versions; 2.13 prefers others.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        wrapped = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

        wrapped.register_comm_hook(state=None, hook=fp16_compress_hook)
    return wrapped
