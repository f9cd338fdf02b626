"""What the cases of operators are made of: sizes, boxes and feature maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """One call that is measured.

    Attributes:
        name: of the operator.
        mode: ``"forward"`` or ``"backward"``.
        what: sizes, precision and memory format.
        ours: the call.
        peer: torchvision's; None where it has no such operator.
        least_bytes: inputs read once and outputs written once; None where time is no matter of it.
    """

    name: str
    mode: str
    what: str
    ours: Callable[[], object]
    peer: Callable[[], object] | None
    least_bytes: int | None


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are."""

    nms: tuple[int, ...] = (10, 100, 1_000, 6_000, 20_000)
    batched_nms: tuple[int, ...] = (1_000, 8_000, 50_000)
    rotated: tuple[int, ...] = (1_000, 6_000)
    image: tuple[int, int] = (800, 1216)
    channels: int = 256
    regions: int = 512
    proposals: int = 1_000
    masked: int = 128
    anchors: int = 243_000
    truths: tuple[int, ...] = (20, 200)
    masks: int = 100
    logits: int = 4 * 243_000
    convolved: tuple[int, int, int] = (4, 50, 76)


FULL = Sizes()
TINY = Sizes(
    nms=(10, 65),
    batched_nms=(70,),
    rotated=(20,),
    image=(64, 96),
    channels=8,
    regions=6,
    proposals=5,
    masked=3,
    anchors=300,
    truths=(3,),
    masks=3,
    logits=50,
    convolved=(1, 5, 6),
)


class Scene:
    """What cases are made of.

    Args:
        sizes: of the inputs.
        device: where they are.
        vision: the torchvision package, or None.
    """

    def __init__(self, sizes: Sizes, device: torch.device, vision: Any | None) -> None:
        self.sizes = sizes
        self.device = device
        self.vision = vision
        self._random = torch.Generator().manual_seed(0)

    def rand(self, *shape: int) -> Tensor:
        """Uniform from 0 to 1, on the device."""
        return torch.rand(shape, generator=self._random).to(self.device)

    def randn(self, *shape: int) -> Tensor:
        """Normal, on the device."""
        if self.device.type == "cuda":  # drawing millions of numbers on the host takes seconds
            return torch.randn(shape, device=self.device)
        return torch.randn(shape, generator=self._random)

    def boxes(self, n: int, low: float, high: float) -> Tensor:
        """(n, 4) boxes with sides from ``low`` to ``high`` pixels in the image."""
        height, width = self.sizes.image
        extent = torch.tensor([float(width), height], device=self.device)
        centres, sides = self.rand(n, 2) * extent, self.rand(n, 2) * (high - low) + low
        return torch.cat([centres - sides / 2, centres + sides / 2], 1)

    def rotated_boxes(self, n: int, low: float, high: float) -> Tensor:
        """(n, 5) of them, turned."""
        upright = self.boxes(n, low, high)
        corner1, corner2 = upright[:, :2], upright[:, 2:]
        angles = self.rand(n, 1) * 360 - 180
        return torch.cat([(corner1 + corner2) / 2, corner2 - corner1, angles], 1)

    def peer(self, call: Callable[[Any], object]) -> Callable[[], object] | None:
        """The call on torchvision, if there is one."""
        vision = self.vision
        return None if vision is None else lambda: call(vision)
