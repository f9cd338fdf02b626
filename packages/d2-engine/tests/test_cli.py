"""The ``d2`` command: what it prints, writes and returns."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from d2_engine.cli import main
from d2_engine.events import EventStorage


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    """The folder of a finished run of six iterations."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    assert main(["train", str(tiny_config), "--output", str(folder)]) == 0
    return folder


def weights(folder: Path, name: str = "model_final.pth") -> dict:
    return torch.load(folder / name, weights_only=True)["model"]


def losses(folder: Path) -> dict[int, float]:
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return {line["iteration"]: line["total_loss"] for line in lines if "total_loss" in line}


def assert_same_weights(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def fails(capfd, *arguments, code: int = 1) -> str:
    """Run a command that fails; returns its one message, which has no traceback."""
    assert main([str(a) for a in arguments]) == code
    error = capfd.readouterr().err
    assert "Traceback" not in error
    message = [line for line in error.splitlines() if line.startswith("d2 ")]
    assert len(message) == 1, error
    return error[error.index("d2 ") :]


# ------------------------------------------------------------------------- training


def test_training_writes_its_folder(run):
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "contact_sheet.png",
        "inference",
        "last_checkpoint",
        "log.txt",
        "metadata.json",
        "metrics.json",
        "model_final.pth",
    } <= names
    assert sorted(losses(run)) == list(range(6))
    assert json.loads((run / "metadata.json").read_text())["thing_classes"][0] == "ellipse"


def test_a_resumed_run_equals_one_that_was_never_stopped(tiny_config, tmp_path, monkeypatch):
    seen: list[float] = []  # metrics.json has medians over iterations

    def record(self, name, value, **options):
        if name == "total_loss":
            seen.append(value)
        return put_scalar(self, name, value, **options)

    put_scalar = EventStorage.put_scalar
    monkeypatch.setattr(EventStorage, "put_scalar", record)
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    command = ["train", str(tiny_config), "--output"]
    assert main([*command, str(straight)]) == 0
    losses_straight = seen.copy()
    # As if the run had ended after its first checkpoint.
    shutil.copytree(straight, resumed)
    (resumed / "last_checkpoint").write_text("model_0000002.pth")
    for name in ("model_0000005.pth", "model_final.pth", "metrics.json"):
        (resumed / name).unlink()
    seen.clear()
    assert main([*command, str(resumed), "--resume"]) == 0
    assert_same_weights(weights(resumed), weights(straight))
    assert len(losses_straight) == 6
    assert seen == losses_straight[3:]
    assert sorted(losses(resumed)) == [3, 4, 5]


def test_a_run_without_a_seed_keeps_the_one_it_drew_when_it_is_resumed(tiny_config, tmp_path):
    command = ["train", str(tiny_config), "train.seed=null", "train.max_iter=6"]
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    assert main([*command, "--output", str(straight)]) == 0
    shutil.copytree(straight, resumed)
    (resumed / "last_checkpoint").write_text("model_0000002.pth")
    assert main([*command, "--output", str(resumed), "--resume"]) == 0
    assert_same_weights(weights(resumed), weights(straight))


def test_the_same_seed_gives_the_same_weights_with_workers(run, tiny_config, tmp_path):
    overrides = ["dataloader.train.num_workers=2", "train.max_iter=6"]
    assert main(["train", str(tiny_config), "--output", str(tmp_path), *overrides]) == 0
    assert_same_weights(weights(tmp_path), weights(run))


def test_overrides_may_stand_before_and_behind_options(tiny_config, tmp_path):
    command = ["train", str(tiny_config), "train.log_period=1", "--output", str(tmp_path)]
    assert main([*command, "train.max_iter=1"]) == 0
    assert list(losses(tmp_path)) == [0]


def test_the_number_of_classes_is_taken_from_the_data(tiny_config, tmp_path):
    overrides = ["model.roi_heads.num_classes=null", "train.max_iter=1"]
    assert main(["train", str(tiny_config), "--output", str(tmp_path), *overrides]) == 0
    assert weights(tmp_path)["roi_heads.box_predictor.cls_score.weight"].shape[0] == 5


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_from_which_training_goes_on(signum, tiny_config, tmp_path):
    command = [sys.executable, "-c", "from d2_engine.cli import main; raise SystemExit(main())"]
    command += ["train", str(tiny_config), "--output", str(tmp_path), "train.max_iter=100000"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    metrics = tmp_path / "metrics.json"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 1):
        time.sleep(0.05)
    process.send_signal(signum)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signum, error
    assert f"training interrupted by {signum.name}" in error
    assert "--resume" in error
    assert "Traceback" not in error

    name = (tmp_path / "last_checkpoint").read_text()
    done = torch.load(tmp_path / name, weights_only=True)["iteration"]
    last = done + 2
    again = ["train", str(tiny_config), "--output", str(tmp_path), "--resume"]
    assert main([*again, f"train.max_iter={last}"]) == 0
    assert max(losses(tmp_path)) == last - 1


# ----------------------------------------------------------- evaluating, predicting


def test_evaluation_of_a_run_repeats_its_numbers(run, tmp_path, capfd):
    assert main(["eval", str(run), "--output", str(tmp_path)]) == 0
    printed = capfd.readouterr().out
    last = json.loads((run / "metrics.json").read_text().splitlines()[-1])
    row = next(line for line in printed.splitlines() if line.startswith("| bbox"))
    assert f"{last['bbox/AP50']:.2f}" in row


def test_evaluation_takes_the_number_of_classes_from_the_data(run, tiny_config, tmp_path):
    arguments = ["eval", str(tiny_config), "--weights", str(run / "model_final.pth")]
    arguments += ["--output", str(tmp_path), "model.roi_heads.num_classes=null"]
    assert main(arguments) == 0


def test_a_run_that_was_moved_is_evaluated_where_it_is(run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    (moved / "contact_sheet.png").unlink()
    assert main(["eval", str(moved)]) == 0
    assert (moved / "contact_sheet.png").is_file()


def test_evaluation_needs_weights(tiny_config, capfd):
    assert "--weights FILE" in fails(capfd, "eval", tiny_config)


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_weights_of_a_backbone_alone_are_not_used(command, run, shapes, tmp_path, capfd):
    whole = weights(run)
    backbone = {name: value for name, value in whole.items() if name.startswith("backbone.")}
    torch.save({"model": backbone}, tmp_path / "backbone.pth")
    arguments = [run] if command == "eval" else [shapes / "images", "--run", run]
    arguments += ["--output", tmp_path / "out", "--weights", tmp_path / "backbone.pth"]
    message = fails(capfd, command, *arguments)
    assert "backbone.pth" in message
    assert "proposal_generator" in message


def test_prediction_needs_nothing_but_the_run_folder(run, shapes, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    text = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(text.replace(str(shapes), "/the/data/is/gone"))
    pictures = sorted((shapes / "images").iterdir())[:2]
    output = tmp_path / "seen"
    command = ["predict", *map(str, pictures), "--run", str(moved), "--output", str(output)]
    assert main([*command, "--threshold", "0", "--scale", "2"]) == 0
    for picture in pictures:
        drawn = np.asarray(Image.open(output / f"{picture.stem}.png"))
        assert drawn.shape == (128, 128, 3)
    coco = COCO(output / "predictions.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())][3] == "star"
    assert coco.anns
    assert {a["image_id"] for a in coco.anns.values()} <= {1, 2}


def test_a_folder_of_pictures_may_be_given(run, shapes, tmp_path):
    assert (
        main(["predict", str(shapes / "images"), "--run", str(run), "--output", str(tmp_path)]) == 0
    )
    drawn = list(tmp_path.glob("*.png"))
    assert len(drawn) == 12
    with Image.open(drawn[0]) as picture:
        assert picture.size == (64, 64)


@pytest.mark.parametrize(("option", "value"), [("--threshold", "2"), ("--scale", "0")])
def test_an_option_out_of_range_is_named(run, shapes, tmp_path, capfd, option, value):
    arguments = [shapes / "images", "--run", run, "--output", tmp_path, option, value]
    assert option in fails(capfd, "predict", *arguments)


def test_pictures_of_one_name_do_not_replace_each_other(run, shapes, tmp_path):
    picture = sorted((shapes / "images").iterdir())[0]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(picture, tmp_path / name / f"same{picture.suffix}")
    found = [str(tmp_path / name) for name in ("a", "b")]
    assert main(["predict", *found, "--run", str(run), "--output", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"same.png", "same_2.png"}


def test_the_environment_shows_versions_and_kernels(capfd):
    assert main(["env"]) == 0
    printed = capfd.readouterr().out
    for name in ("d2-ops", "torch", "CUDA", "d2-ops cpu_library"):
        assert any(line.startswith(name) for line in printed.splitlines()), name


# ------------------------------------------------------------------------ bad input


def test_a_missing_annotation_file_is_named(tiny_config, tmp_path, capfd):
    message = fails(
        capfd, "train", tiny_config, "--output", tmp_path, "data.train.json=no/such.json"
    )
    assert "no/such.json does not exist" in message
    assert "data.train.json" in message


def test_an_undeclared_category_is_named(tiny_config, shapes, tmp_path, capfd):
    content = json.loads((shapes / "instances.json").read_text())
    content["annotations"][0]["category_id"] = 77
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(content))
    message = fails(
        capfd, "train", tiny_config, "--output", tmp_path / "run", f"data.train.json={broken}"
    )
    assert "77" in message
    assert "broken.json" in message


def broken_images(shapes: Path, folder: Path) -> Path:
    shutil.copytree(shapes / "images", folder)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_of_another_size_is_named(tiny_config, shapes, tmp_path, capfd, workers):
    folder = broken_images(shapes, tmp_path / "images")
    for picture in folder.iterdir():
        Image.open(picture).resize((50, 40)).save(picture)
    message = fails(
        *(capfd, "train", tiny_config, "--output", tmp_path / "run"),
        *(f"data.train.images={folder}", f"dataloader.train.num_workers={workers}"),
    )
    assert str(folder) in message
    assert "50" in message
    assert "64" in message


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_picture_is_named(tiny_config, shapes, tmp_path, capfd, workers):
    folder = broken_images(shapes, tmp_path / "images")
    for picture in folder.iterdir():
        picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    message = fails(
        *(capfd, "train", tiny_config, "--output", tmp_path / "run"),
        *(f"data.train.images={folder}", f"dataloader.train.num_workers={workers}"),
    )
    assert str(folder) in message


def test_a_typo_in_an_override_names_the_key_meant(tiny_config, capfd):
    message = fails(capfd, "train", tiny_config, "train.max_itre=10")
    assert "train.max_itre" in message
    assert "train.max_iter" in message.replace("train.max_itre", "")


def test_an_unknown_config_names_close_ones(capfd):
    message = fails(capfd, "train", "quickstart/mask_rcnn_shape.py")
    assert "quickstart/mask_rcnn_shapes.py" in message


def test_a_checkpoint_of_another_architecture_is_refused(tiny_config, tmp_path, capfd):
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5))
    torch.save({"model": other.state_dict()}, tmp_path / "other.pth")
    message = fails(
        *(capfd, "train", tiny_config, "--output", tmp_path / "run"),
        f"train.init_checkpoint={tmp_path / 'other.pth'}",
    )
    assert "other.pth" in message
    assert "0.{bias, weight}" in message


def test_a_number_of_classes_that_does_not_fit_the_data_is_refused(tiny_config, tmp_path, capfd):
    message = fails(
        *(capfd, "train", tiny_config, "--output", tmp_path),
        "model.roi_heads.num_classes=80",
    )
    assert "is 80" in message
    assert "set model.roi_heads.num_classes=4" in message


def test_test_data_that_is_missing_is_named_before_training(tiny_config, tmp_path, capfd):
    message = fails(capfd, "train", tiny_config, "--output", tmp_path, "data.val.json=no/such.json")
    assert "no/such.json does not exist" in message
    assert not (tmp_path / "metrics.json").exists()


def test_test_data_of_other_classes_is_refused_before_training(
    tiny_config, shapes, tmp_path, capfd
):
    content = json.loads((shapes / "instances.json").read_text())
    content["categories"][3]["name"] = "hexagon"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    folder = tmp_path / "run"
    message = fails(capfd, "train", tiny_config, "--output", folder, f"data.val.json={other}")
    assert "other.json" in message
    assert "hexagon" in message
    assert not (folder / "metrics.json").exists()


def test_a_file_in_place_of_the_folder_is_refused(tiny_config, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    message = fails(capfd, "train", tiny_config, "--output", tmp_path / "file")
    assert "file is a file: choose another --output" in message


def test_predicting_with_weights_of_another_architecture_is_refused(run, shapes, tmp_path, capfd):
    torch.save({"model": torch.nn.Linear(3, 4).state_dict()}, tmp_path / "other.pth")
    arguments = [shapes / "images", "--run", run, "--weights", tmp_path / "other.pth"]
    message = fails(capfd, "predict", *arguments, "--output", tmp_path / "out")
    assert "other.pth' does not fit the model" in message


def test_a_truncated_picture_is_named_after_the_others_were_predicted(run, shapes, tmp_path, capfd):
    picture = sorted((shapes / "images").iterdir())[0]
    image = Image.open(picture).convert("RGB")
    image.save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    message = fails(
        capfd,
        *("predict", tmp_path / "cut.jpg", picture),
        *("--run", run, "--output", tmp_path / "out"),
    )
    assert "1 of 2 pictures" in message
    assert "cut.jpg' cannot be decoded" in message
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [entry["file_name"] for entry in predictions["images"]] == [str(picture)]
    assert (tmp_path / "out" / f"{picture.stem}.png").exists()


def test_predicting_without_a_number_of_classes_is_refused(
    run, tiny_config, shapes, tmp_path, capfd
):
    config = tmp_path / "null.py"
    text = tiny_config.read_text() + "model.roi_heads.num_classes = None\n"
    config.write_text(text)
    arguments = [shapes / "images", "--config", config, "--weights", run / "model_final.pth"]
    message = fails(capfd, "predict", *arguments, "--output", tmp_path / "out")
    assert "model.roi_heads.num_classes is null" in message
    assert "the folder of a training run" in message


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_folder_that_is_no_run_is_named(command, tmp_path, capfd):
    where = [tmp_path] if command == "eval" else ["x.jpg", "--run", tmp_path / "nowhere"]
    where += ["--output", tmp_path / "out"]
    assert "not the folder of a training run" in fails(capfd, command, *where)


def test_ctrl_c_outside_training_is_said(monkeypatch, capfd):
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("d2_engine.environment.collect_environment", interrupted)
    assert main(["env"]) == 130
    assert capfd.readouterr().err == "d2 env: interrupted\n"


def test_a_missing_picture_is_named(run, tmp_path, capfd):
    message = fails(capfd, "predict", "nowhere.jpg", "--run", run, "--output", tmp_path)
    assert "nowhere.jpg" in message


def test_debug_shows_the_traceback(tiny_config):
    with pytest.raises(KeyError, match="train.max_itre"):
        main(["train", str(tiny_config), "train.max_itre=10", "--debug"])


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train"], ["env", "x"], ["env", "--no"]])
def test_a_wrong_command_line_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_a_folder_that_holds_a_run_is_not_mixed_with_another(run, tiny_config, capfd):
    before = (run / "metrics.json").read_text()
    message = fails(capfd, "train", tiny_config, "--output", run)
    assert f"{run} already holds a training run" in message
    assert "--resume" in message
    assert (run / "metrics.json").read_text() == before
