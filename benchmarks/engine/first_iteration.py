"""Time from the command to the first iteration of a training, in a process of its own.

The peer is the same training written by hand with the same parts: imports, data, model, optimizer,
one step. What ``d2 train`` takes beyond it is reading the config, checks, logs and the folder.

    PYTHONPATH=benchmarks python benchmarks/engine/first_iteration.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from _paired import measure_pairs, report

from d2_data.datasets import coco_folder
from d2_data.datasets.shapes import generate_shapes

BY_COMMAND = """
import sys
from d2_engine.train_loop import TrainerBase
def stop(self):
    sys.exit(0)
TrainerBase.after_step = stop
from d2_engine.cli import main
main(["train", "quickstart/mask_rcnn_shapes.py", "--output", {output!r}, "data.train.json={json}",
      "data.train.images={images}", "train.device=cpu"])
"""

BY_HAND = """
from d2_config import instantiate
from d2_engine import model_zoo
cfg = model_zoo.get_config("quickstart/mask_rcnn_shapes.py")
cfg.dataloader.train.dataset.names = {name!r}
loader = instantiate(cfg.dataloader.train)
model = instantiate(cfg.model).train()
cfg.optimizer.params.model = model
optimizer = instantiate(cfg.optimizer)
losses = model(next(iter(loader)))
sum(losses.values()).backward()
optimizer.step()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = generate_shapes(Path(folder, "data"), 16, image_size=128)
        name = coco_folder(data.instances_json, data.image_root)
        runs = iter(range(1000))

        def by_command() -> None:
            output = str(Path(folder, f"run{next(runs)}"))
            run(BY_COMMAND.format(output=output, json=data.instances_json, images=data.image_root))

        def by_hand() -> None:
            run(BY_HAND.format(name=name))

        measured = measure_pairs(by_command, by_hand, rounds=7, seconds=120)
    report(
        "engine-first-iteration",
        {"d2 train, to the end of its first iteration": measured},
        peer="the same parts by hand",
    )


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


if __name__ == "__main__":
    main()
