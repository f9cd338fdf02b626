"""``d2 train``: what it takes, prints, writes and refuses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from d2_engine.cli import main
from d2_engine.interruption import TrainingInterrupted

D2 = [sys.executable, "-c", "from d2_engine.cli import main; raise SystemExit(main())"]


def iterations(folder: Path) -> list[int]:
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return [line["iteration"] for line in lines if "total_loss" in line]


def train(config: Path, folder: Path, *more: object) -> int:
    return main(["train", str(config), "--output", str(folder), *map(str, more)])


# ------------------------------------------------------------- what it takes, prints


def test_in_the_end_it_prints_table_folder_and_what_to_type_next(tiny, tmp_path, capfd):
    assert train(tiny.config, tmp_path, *tiny.set(max_iter=1)) == 0
    lines = capfd.readouterr().out.splitlines()
    assert sum(line.startswith("| bbox ") for line in lines) == 1
    end = "\n".join(lines[-3:]) + "\n"
    assert f"Everything is in {tmp_path}\n" in end
    assert f"d2 predict PICTURES --run {tmp_path} " in end
    assert f"d2 eval {tmp_path} " in end


def test_the_next_commands_import_the_same_modules(tiny_lazy, tmp_path, capfd):
    module = tmp_path / "my parts.py"
    module.write_text("")
    arguments = ("--import", module, *tiny_lazy.set(max_iter=1))
    assert train(tiny_lazy.config, tmp_path / "run", *arguments) == 0
    printed = capfd.readouterr().out
    assert f"d2 eval {tmp_path / 'run'} --import '{module}' " in printed


def test_the_documented_form_is_taken(tiny_yacs, tmp_path):
    arguments = ["--config-file", str(tiny_yacs.config), "--num-gpus", "1"]
    overrides = ["SOLVER.MAX_ITER", "1", "OUTPUT_DIR", str(tmp_path)]
    assert main(["train", *arguments, *overrides]) == 0
    assert iterations(tmp_path) == [0]


def test_evaluating_only_is_taken(tiny, tiny_run, tmp_path, capfd):
    weights = tiny.set(weights=tiny_run / "model_final.pth")
    arguments = ["--config-file", str(tiny.config), "--eval-only", "--output", str(tmp_path)]
    assert main(["train", *arguments, *weights]) == 0
    assert "| bbox" in capfd.readouterr().out
    assert not (tmp_path / "metrics.json").exists()


def test_overrides_may_stand_before_and_behind_options(tiny, tmp_path):
    before, behind = tiny.set(checkpoint_period=7), tiny.set(max_iter=1)
    assert main(["train", str(tiny.config), *before, "--output", str(tmp_path), *behind]) == 0
    assert iterations(tmp_path) == [0]


def test_datasets_of_ones_own_module_are_known(tiny, shapes, tmp_path):
    module = tmp_path / "my_data.py"
    module.write_text(
        "from d2_data.datasets import register_coco_instances\n"
        "for part in ('train', 'val'):\n"
        f"    register_coco_instances(f'mine_{tiny.config.suffix}_{{part}}', {{}},\n"
        f"        {str(shapes / 'instances.json')!r}, {str(shapes / 'images')!r})\n"
    )
    names = [f"mine_{tiny.config.suffix}_{part}" for part in ("train", "val")]
    if tiny.config.suffix == ".yaml":
        names = [f"['{name}']" for name in names]
    overrides = tiny.set(train_names=names[0], test_names=names[1], max_iter=1)
    assert train(tiny.config, tmp_path / "run", "--import", module, *overrides) == 0
    assert iterations(tmp_path / "run") == [0]


def test_a_config_with_a_lambda_trains_in_several_processes(tiny_lazy, tmp_path):
    config = tmp_path / "with_lambda.py"
    config.write_text(
        f"{tiny_lazy.config.read_text()}\n"
        "lr_multiplier = dict(_target_=lambda scheduler: scheduler, scheduler=lr_multiplier)\n"
    )
    command = ["train", config, "--output", tmp_path / "run", "--num-gpus", 2]
    done = subprocess.run(
        [*D2, *map(str, command), *tiny_lazy.set(max_iter=1)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Everything is in") == 1


def test_an_interrupted_run_says_how_to_go_on(tiny_lazy, tmp_path, monkeypatch, capfd):
    def interrupted(plan, **options):
        raise TrainingInterrupted(15)

    monkeypatch.setattr("d2_engine.run.train", interrupted)
    assert train(tiny_lazy.config, tmp_path) == 143
    assert capfd.readouterr().err == (
        f"training interrupted by SIGTERM: the checkpoint is in {tmp_path}; continue with the same "
        "command and --resume\n"
    )


def test_resume_is_passed_on(tiny_lazy, tmp_path, monkeypatch):
    seen = []

    def note(plan, *, resume, **options):
        seen.append(resume)
        return {}

    monkeypatch.setattr("d2_engine.run.train", note)
    assert train(tiny_lazy.config, tmp_path) == train(tiny_lazy.config, tmp_path, "--resume") == 0
    assert seen == [False, True]


# ------------------------------------------------------------------------ bad input


def test_a_typo_is_told_before_anything_else(tiny, capfd):
    key = tiny.names["max_iter"].replace("max_iter", "max_itre").replace("MAX_ITER", "MAX_ITRE")
    assert main(["train", str(tiny.config), f"{key}=10"]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert key in printed.err
    assert tiny.names["max_iter"] in printed.err


def test_an_unknown_config_names_close_ones(fails):
    message = fails("train", "quickstart/mask_rcnn_shape.py")
    assert "there is no file 'quickstart/mask_rcnn_shape.py', and no packaged config" in message
    assert "Did you mean quickstart/mask_rcnn_shapes.py" in message


def test_a_missing_module_is_named(tiny, fails):
    assert "no_such_module" in fails("train", tiny.config, "--import", "no_such_module")


def test_an_undeclared_category_is_named(tiny, shapes, tmp_path, fails):
    content = json.loads((shapes / "instances.json").read_text())
    content["annotations"][0]["category_id"] = 77
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(content))
    message = fails(
        *("train", tiny.config, "--output", tmp_path / "run"),
        *(f"data.train.json={broken}", f"data.train.images={shapes / 'images'}"),
    )
    assert "77" in message
    assert "broken.json" in message


def damaged(shapes: Path, folder: Path, damage) -> list[str]:
    """Overrides that name training data whose pictures are damaged."""
    shutil.copytree(shapes / "images", folder)
    for picture in folder.iterdir():
        damage(picture)
    return [f"data.train.json={shapes / 'instances.json'}", f"data.train.images={folder}"]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_of_another_size_is_named(tiny_lazy, shapes, tmp_path, fails, workers):
    def resize(picture):
        Image.open(picture).resize((50, 40)).save(picture)

    data = damaged(shapes, tmp_path / "images", resize)
    message = fails(
        *("train", tiny_lazy.config, "--output", tmp_path / "run"),
        *(*data, *tiny_lazy.set(workers=workers)),
    )
    assert str(tmp_path / "images") in message
    assert "50" in message
    assert "64" in message


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_picture_is_named(tiny_lazy, shapes, tmp_path, fails, workers):
    def cut(picture):
        picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])

    data = damaged(shapes, tmp_path / "images", cut)
    message = fails(
        *("train", tiny_lazy.config, "--output", tmp_path / "run"),
        *(*data, *tiny_lazy.set(workers=workers)),
    )
    assert str(tmp_path / "images") in message


def test_a_checkpoint_of_another_architecture_is_refused(tiny, tmp_path, fails):
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5))
    torch.save({"model": other.state_dict()}, tmp_path / "other.pth")
    arguments = ["--output", tmp_path / "run", "--weights", tmp_path / "other.pth"]
    message = fails("train", tiny.config, *arguments)
    assert "other.pth" in message
    assert "0.{bias, weight}" in message


def test_test_data_that_is_missing_is_named_before_training(tiny, tmp_path, fails):
    message = fails("train", tiny.config, "--output", tmp_path, "data.val.json=no/such.json")
    assert "no/such.json' does not exist" in message
    assert not (tmp_path / "metrics.json").exists()


def test_a_file_in_place_of_the_folder_is_refused(tiny, tmp_path, fails):
    (tmp_path / "file").write_text("")
    message = fails("train", tiny.config, "--output", tmp_path / "file")
    assert "file is a file: choose another --output" in message


def test_a_folder_that_holds_a_run_is_not_mixed_with_another(tiny, tiny_run, fails):
    before = (tiny_run / "metrics.json").read_text()
    message = fails("train", tiny.config, "--output", tiny_run)
    assert f"{tiny_run} already holds a training run" in message
    assert "--resume" in message
    assert (tiny_run / "metrics.json").read_text() == before
