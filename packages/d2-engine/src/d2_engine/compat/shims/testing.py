"""Small things for tests of models."""

import io
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import LazyConfig
from d2_engine.model_zoo import get
from d2_structures import Boxes, Instances

__all__ = [
    "assert_instances_allclose",
    "convert_scripted_instances",
    "get_model_no_weights",
    "get_sample_coco_image",
    "random_boxes",
    "reload_lazy_config",
    "reload_script_model",
]


def get_model_no_weights(config_path: str) -> nn.Module:
    """A model of the zoo as it is initialised, on the CPU unless there is CUDA."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: nn.Module = get(config_path, trained=False, device=device)
    return model


def random_boxes(num_boxes: int, max_coord: float = 100, device: Any = "cpu") -> Tensor:
    """(N, 4) boxes with corners up to about ``max_coord``, none empty."""
    boxes = torch.rand(num_boxes, 4, device=device) * (max_coord * 0.5)
    boxes.clamp_(min=1.0)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def get_sample_coco_image(tensor: bool = True) -> Any:
    """A (480, 640, 3) uint8 picture in BGR order, as a (3, H, W) tensor by default.

    It is drawn, not one of COCO's: those may not be handed on.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 255, (480, 640, 3), generator=generator, dtype=torch.uint8)
    image[120:360, 160:480] = torch.tensor([40, 90, 200], dtype=torch.uint8)
    return image.permute(2, 0, 1).contiguous() if tensor else image.numpy()


def convert_scripted_instances(instances: Any) -> Instances:
    """Instances of a scripted model as ordinary ones."""
    if isinstance(instances, Instances):
        return instances
    ordinary = Instances(instances.image_size)
    for name in instances._field_names:
        value = getattr(instances, f"_{name}", None)
        if value is not None:
            ordinary.set(name, value)
    return ordinary


def assert_instances_allclose(
    input: Any,
    other: Any,
    *,
    rtol: float = 1e-5,
    msg: str = "",
    size_as_tensor: bool = False,
) -> None:
    """Fail unless two instances have the same size, fields and, within ``rtol``, values."""
    a, b = convert_scripted_instances(input), convert_scripted_instances(other)
    prefix = f"{msg}: " if msg else ""
    sizes = [tuple(int(side) for side in instances.image_size) for instances in (a, b)]
    assert sizes[0] == sizes[1], f"{prefix}image_size {sizes[0]} vs. {sizes[1]}"
    names = sorted(a.get_fields())
    assert names == sorted(b.get_fields()), f"{prefix}fields {names} vs. {sorted(b.get_fields())}"
    for name in names:
        first, second = a.get(name), b.get(name)
        if isinstance(first, Boxes):
            first, second = first.tensor, second.tensor
        if isinstance(first, Tensor):
            size = max(float(second.abs().max()), 1e-12) if second.numel() else 1.0
            close = first.shape == second.shape and torch.allclose(
                first.float(), second.float(), atol=size * rtol, rtol=0
            )
            assert close, f"{prefix}{name} differs: {first} vs. {second}"
        else:
            assert first == second, f"{prefix}{name} differs: {first} vs. {second}"


def reload_script_model(module: Any) -> Any:
    """Save a scripted model and load it again."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def reload_lazy_config(cfg: Any) -> Any:
    """Save a lazy config and load it again."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "config.yaml"))
        LazyConfig.save(cfg, path)
        return LazyConfig.load(path)
