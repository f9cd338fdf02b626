"""Where a model runs."""

import torch


def choose_device(name: str) -> torch.device:
    """Return the device of a config: ``"auto"`` is CUDA where there is a device, else the CPU.

    Raises:
        ValueError: if the name is no device, or asks for CUDA where there is none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"train.device={name!r} is no device: use auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and not available:
        raise ValueError(
            f"train.device={name!r}, but torch finds no CUDA device: set train.device=cpu or auto"
        )
    return device
