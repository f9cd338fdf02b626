"""deform_conv2d beside torchvision's: 1 x 256 x 50 x 76, 256 filters of 3 x 3, versions 1 and 2."""

from __future__ import annotations

import torch
import torchvision
from _paired import Paired, measure_pairs, report

import d2_ops


def main() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    features = torch.randn(1, 256, 50, 76, requires_grad=True)
    weight = torch.randn(256, 256, 3, 3, requires_grad=True)
    offset = torch.randn(1, 18, 50, 76, requires_grad=True)
    modulation = torch.rand(1, 9, 50, 76, requires_grad=True)
    rows: dict[str, Paired] = {}
    for version, mask in ((1, None), (2, modulation)):
        tensors = [t for t in (features, offset, weight, mask) if t is not None]

        def ours(mask: torch.Tensor | None = mask) -> torch.Tensor:
            return d2_ops.deform_conv2d(features, offset, weight, padding=1, mask=mask)

        def theirs(mask: torch.Tensor | None = mask) -> torch.Tensor:
            return torchvision.ops.deform_conv2d(features, offset, weight, padding=1, mask=mask)

        with torch.no_grad():
            rows[f"forward, version {version}"] = measure_pairs(ours, theirs, seconds=6)
        our_output, their_output = ours(), theirs()
        gradient = torch.randn_like(our_output)
        rows[f"backward, version {version}"] = measure_pairs(
            lambda y=our_output, t=tensors, g=gradient: torch.autograd.grad(
                y, t, g, retain_graph=True
            ),
            lambda y=their_output, t=tensors, g=gradient: torch.autograd.grad(
                y, t, g, retain_graph=True
            ),
            seconds=12,
        )
    with torch.no_grad():
        rows["ordinary convolution"] = measure_pairs(
            lambda: torch.nn.functional.conv2d(features, weight, padding=1)
        )
    report("ops-deform-conv2d-cpu", rows, "torchvision", threads=2)


if __name__ == "__main__":
    main()
