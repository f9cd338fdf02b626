"""Time a ResNet-50 FPN that was compiled in place beside the same one as it is.

Compiling takes minutes on a CPU, in training several times as long, and happens before anything is
timed; the record says how long it took. ``--train`` adds a forward and backward pass.

    PYTHONPATH=benchmarks python benchmarks/modeling/compiled_backbone.py [--train]
"""

import argparse
import copy
import os
import time
from collections.abc import Callable

import torch
from _paired import Paired, measure_pairs, report
from torch import Tensor, nn

from d2_modeling import FPN, ResNet
from d2_modeling.backbone import BasicStem, LastLevelMaxPool

BATCH, HEIGHT, WIDTH = 2, 320, 416
STAGES = ["res2", "res3", "res4", "res5"]


def backbone() -> FPN:
    torch.manual_seed(0)
    stages = ResNet.make_default_stages(50, norm="FrozenBN")
    resnet = ResNet(BasicStem(norm="FrozenBN"), stages, out_features=STAGES, freeze_at=2)
    return FPN(resnet, STAGES, 256, top_block=LastLevelMaxPool())


def infer(model: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        model(images)


def step(model: nn.Module, images: Tensor) -> None:
    model.zero_grad()
    sum(feature.square().mean() for feature in model(images).values()).backward()


def compare(
    call: Callable[[nn.Module, Tensor], None], images: Tensor, *, train: bool
) -> tuple[Paired, float]:
    """How both fare, and the seconds of compiling."""
    plain = backbone().train(train)
    compiled = copy.deepcopy(plain)
    compiled.compile(dynamic=True)
    begin = time.perf_counter()
    call(compiled, images)
    seconds = time.perf_counter() - begin
    pair = measure_pairs(
        lambda: call(compiled, images), lambda: call(plain, images), rounds=7, seconds=20
    )
    return pair, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="also time a step of training")
    train = parser.parse_args().train
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images = torch.randn(BATCH, 3, HEIGHT, WIDTH)
    calls = {"inference": (infer, False)} | ({"training": (step, True)} if train else {})
    rows, compiling = {}, {}
    for name, (call, training) in calls.items():
        rows[name], compiling[name] = compare(call, images, train=training)
        print(f"{name}: compiled in {compiling[name]:.0f} s")
    report(
        "modeling-compiled-backbone",
        rows,
        "as it is",
        shape=[BATCH, 3, HEIGHT, WIDTH],
        seconds_of_compiling=compiling,
    )


if __name__ == "__main__":
    main()
