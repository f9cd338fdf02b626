"""``d2 check`` tells whole files from damaged ones, and runs nothing from them."""

import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2_engine.checkpoint import Checkpointer
from d2_engine.cli import main
from d2_engine.file_checks import check_file


def checked(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """The exit code, and the problem of each file by its name."""
    code = main(["check", str(path), "--json"])
    return code, {
        Path(file["path"]).name: file["problem"] for file in json.loads(capsys.readouterr().out)
    }


def test_every_file_of_a_whole_run_is_listed_and_good(tiny_run, capsys):
    assert main(["check", str(tiny_run)]) == 0
    shown = capsys.readouterr().out
    files = [path for path in tiny_run.rglob("*") if path.is_file()]
    assert f"{len(files)} files, 0 damaged or missing" in shown
    for path in files:
        assert str(path) in shown
    assert "every byte compared" in shown
    assert "iteration 1" in shown
    assert "not looked into" not in shown


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 - 1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("model_final.pth", flip, "its checksum is"),
        ("model_final.pth", cut, ""),
        ("model_final.pth", empty, "it is empty"),
        ("model_final.pth", lambda path: path.write_text("<html>"), "web page"),
        ("metrics.json", cut, "line 2 is damaged or not whole"),
        ("config.yaml", lambda path: path.write_text("a: [1"), ""),
        ("metadata.json", cut, ""),
        ("coco_instances_results.json", cut, ""),
        ("last_checkpoint", lambda path: path.write_text("model_7.pth"), "names model_7.pth"),
        ("last_checkpoint", empty, "no name of a file"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(tiny_run, tmp_path, capsys, name, damage, told):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (path,) = run.rglob(name)
    damage(path)
    code, problems = checked(run, capsys)
    assert code == 1
    assert [file for file, problem in problems.items() if problem] == [name]
    assert told in problems[name]
    assert "\n" not in problems[name]


def test_a_missing_config_and_a_missing_last_checkpoint_are_told(tiny_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "config.yaml").unlink()
    (run / "model_final.pth").unlink()
    code, problems = checked(run, capsys)
    assert code == 1
    assert problems["config.yaml"] == "it is missing"
    assert problems["last_checkpoint"] == "it names model_final.pth, which is missing"


def test_each_of_forty_flipped_bits_of_a_checkpoint_is_noticed(tmp_path):
    Checkpointer(torch.nn.Linear(20, 20), tmp_path).save("model")
    path = tmp_path / "model.pth"
    assert check_file(path).found == "every byte compared"
    content, draw = path.read_bytes(), random.Random(0)
    for _ in range(40):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert check_file(path).problem


def test_a_foreign_file_with_another_weight_is_noticed(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"weight": torch.full((100,), 7.0)}, path)
    assert check_file(path).found.startswith("each of its ")
    content = path.read_bytes()
    pattern = np.full(100, 7.0, np.float32).tobytes()
    path.write_bytes(content.replace(pattern, pattern[:-1] + b"\x00"))
    assert "the checksum of" in check_file(path).problem


class Harm:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_nothing_in_a_file_is_executed(tmp_path, capsys):
    folder, mark = tmp_path / "hostile", tmp_path / "mark"
    folder.mkdir()
    for name in ("a.pkl", "b.pth", "config.yaml.pkl"):
        (folder / name).write_bytes(pickle.dumps({"model": Harm(mark)}))
    (folder / "config.yaml").write_text(f"model: {{_target_: os.mkdir, path: {mark}}}\n")
    (folder / "c.yaml").write_text(f'model: !!python/object/apply:os.mkdir ["{mark}"]\n')
    (folder / "setup.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    code, problems = checked(folder, capsys)
    assert code == 1
    assert not mark.exists()
    assert {name for name, problem in problems.items() if problem} == {"a.pkl", "b.pth", "c.yaml"}


def test_weights_of_other_kinds_are_read_to_their_end(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "model.safetensors"
    safetensors.save_file({"weight": torch.zeros(1000)}, path)
    assert check_file(path).problem == ""
    cut(path)
    assert check_file(path).problem
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"weight": np.zeros(1000)}}, protocol=2))
    assert check_file(path)[1:] == ("checkpoint, 1 values", "readable; it carries no checksums", "")
    cut(path)
    assert check_file(path).problem


def test_pictures_and_event_files_are_read_to_their_end(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    picture = tmp_path / "drawn.png"
    noise = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    assert check_file(picture)[1:] == ("picture, 60 x 50", "decoded", "")
    cut(picture)
    assert check_file(picture).problem
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(5):
            writer.add_scalar("loss", 1.0, step)
    (events,) = tmp_path.glob("events*")
    assert check_file(events).found == "6 records"
    cut(events)
    assert "cut short" in check_file(events).found  # as a kill leaves it
    events.write_bytes(b"\xff" * 500)
    assert check_file(events).problem == "record 0 is damaged"


def test_iterations_that_are_there_twice_are_told(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 3}\n{"iteration": 3}\n')
    assert check_file(path).problem == "line 2 is of iteration 3, the one before of 3"


def test_what_is_no_ordinary_file_is_told_and_not_opened(tmp_path, capsys):
    os.mkfifo(tmp_path / "model.pth")
    (tmp_path / "b.pth").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".model_final.pth.abcd1234.tmp").write_bytes(b"half")
    code, problems = checked(tmp_path, capsys)
    assert code == 1
    assert problems == {
        ".model_final.pth.abcd1234.tmp": "",
        "b.pth": "it is a link to nothing",
        "model.pth": "it is no ordinary file",
    }


def test_what_is_not_there_and_an_empty_folder_are_errors(tmp_path, fails):
    assert "there is no " in fails("check", tmp_path / "nowhere")
    assert "is empty" in fails("check", tmp_path)
