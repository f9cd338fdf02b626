"""What the model of a plan consists of, and what it costs."""

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_engine.run.plan import RunPlan
from d2_modeling.analysis import (
    FlopCountAnalysis,
    activation_count_operators,
    flop_count_operators,
    flop_count_table,
    parameter_count_table,
)

TASKS = ("parameter", "structure", "flop", "activation")
"""What can be told of a model."""


def analyze(
    model: nn.Module, tasks: Sequence[str], images: Sequence[Tensor], *, depth: int = 3
) -> Iterator[str]:
    """Describe a model.

    Args:
        model: of ours: takes a list of dicts. Its mode stays as it is.
        tasks: of :data:`TASKS`.
        images: (C, H, W) each, in the model's format; multiply-adds and activations are counted
            in inference of each. How many there are depends on what is found.
        depth: how deep tables go into modules.

    Yields:
        For each task a text without a final newline.

    Raises:
        ValueError: for a task that is not known, or one that needs images where there are none.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"there is no task {unknown[0]!r}; there are {', '.join(TASKS)}")
    if not images and {"flop", "activation"} & set(tasks):
        raise ValueError("multiply-adds and activations are counted in images, and there are none")
    for task in tasks:
        if task == "parameter":
            yield parameter_count_table(model, max_depth=depth)
        elif task == "structure":
            yield str(model)
        elif task == "flop":
            yield f"{_flop_table(model, images[0], depth)}\n\n" + _by_operator(
                "multiply-adds, in billions", flop_count_operators, model, images
            )
        else:
            yield _by_operator(
                "activations, in millions", activation_count_operators, model, images
            )


def images_of(plan: RunPlan, number: int) -> list[Tensor]:
    """Return test images of a plan as its model takes them.

    Raises:
        ValueError: if it has no test data, or its samples are not single images.
    """
    if not plan.test_sets:
        raise ValueError("the config names no test data to take images from: give a size instead")
    samples = itertools.chain.from_iterable(plan.test_sets[0].loader())
    found = []
    for sample in itertools.islice(samples, number):
        if not isinstance(sample, Mapping) or not isinstance(sample.get("image"), Tensor):
            raise ValueError("the test data is not made of single images: give a size instead")
        found.append(sample["image"])
    return found


def drawn_image(height: int, width: int, channels: int = 3) -> Tensor:
    """Return an image of noise, (channels, height, width) uint8; the same one each time."""
    generator = torch.Generator().manual_seed(0)
    size = (channels, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def _flop_table(model: nn.Module, image: Tensor, depth: int) -> str:
    training = model.training
    model.eval()
    try:
        return flop_count_table(FlopCountAnalysis(model, ([{"image": image}],)), max_depth=depth)
    finally:
        model.train(training)


def _by_operator(
    what: str,
    count: Callable[[nn.Module, Sequence[Mapping[str, Any]]], Mapping[str, float]],
    model: nn.Module,
    images: Sequence[Tensor],
) -> str:
    counts = [count(model, [{"image": image}]) for image in images]
    names = dict.fromkeys(name for each in counts for name in each)
    totals = [sum(each.values()) for each in counts]
    rows = {name: [each.get(name, 0.0) for each in counts] for name in names} | {"total": totals}
    width = max(map(len, rows))
    lines = [f"{what}, of {len(images)} image{'s' * (len(images) > 1)}"]
    for name, values in rows.items():
        spread = f" ± {statistics.pstdev(values):.3g}" if len(values) > 1 else ""
        lines.append(f"  {name:<{width}}  {statistics.fmean(values):.4g}{spread}")
    return "\n".join(lines)
