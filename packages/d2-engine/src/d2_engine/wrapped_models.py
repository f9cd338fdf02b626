"""The model itself, whatever it is wrapped in."""

from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, DataParallel and ``torch.compile``."""
    while True:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model
