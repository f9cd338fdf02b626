"""A run goes on from the newest checkpoint that is sound, and loses nothing to a kill."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from d2_engine import SimpleTrainer
from d2_engine.checkpoint import Checkpointer, PeriodicCheckpointer
from d2_engine.hooks import PeriodicCheckpointer as PeriodicCheckpointerHook
from d2_modeling.weights import verify_checksums


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def save_run(folder: Path, iterations: tuple[int, ...] = (9, 19, 29)) -> None:
    """Save checkpoints whose weights are the iteration."""
    model = make_model()
    for age, iteration in enumerate(iterations):
        with torch.no_grad():
            model.bias.fill_(iteration)
        Checkpointer(model, folder).save(f"model_{iteration:07d}", iteration=iteration)
        path = folder / f"model_{iteration:07d}.pth"
        os.utime(path, (1000 + age, 1000 + age))


def resumed(folder: Path) -> int:
    model = make_model()
    assert Checkpointer(model, folder).has_checkpoint()
    extra = Checkpointer(model, folder).resume_or_load("", resume=True)
    assert model.bias.tolist() == [extra["iteration"]] * 2
    return extra["iteration"]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_what_is_saved_carries_a_checksum_of_every_byte(tmp_path):
    save_run(tmp_path)
    for path in tmp_path.glob("*.pth"):
        assert verify_checksums(path) == "every byte"


@pytest.mark.parametrize("damage", [flip_a_bit, cut, empty, Path.unlink])
def test_a_damaged_last_checkpoint_gives_way_to_the_newest_good_one(tmp_path, caplog, damage):
    save_run(tmp_path)
    assert resumed(tmp_path) == 29
    assert "instead" not in caplog.text
    damage(tmp_path / "model_0000029.pth")
    assert resumed(tmp_path) == 19
    assert "model_0000029.pth' " in caplog.text
    assert "model_0000019.pth instead" in caplog.text
    damage(tmp_path / "model_0000019.pth")
    assert resumed(tmp_path) == 9


@pytest.mark.parametrize(
    "note", [b"", b"\x00\xff\x80binary", b"../../other/model.pth", b"x" * 5000, None]
)
def test_a_note_of_the_last_checkpoint_that_names_none_gives_way(tmp_path, caplog, note):
    save_run(tmp_path)
    if note is None:
        (tmp_path / "last_checkpoint").unlink()
    else:
        (tmp_path / "last_checkpoint").write_bytes(note)
    assert resumed(tmp_path) == 29
    assert ("last_checkpoint" in caplog.text) == (note is not None)


def test_a_run_without_a_good_checkpoint_says_what_is_wrong_with_each(tmp_path):
    save_run(tmp_path)
    for path in tmp_path.glob("*.pth"):
        cut(path)
    with pytest.raises(ValueError, match="no checkpoint to resume from") as caught:
        Checkpointer(make_model(), tmp_path).resume_or_load("", resume=True)
    for iteration in (9, 19, 29):
        assert f"model_{iteration:07d}.pth' cannot be loaded" in str(caught.value)


def test_a_checkpoint_of_another_model_is_refused_and_none_is_taken_instead(tmp_path):
    save_run(tmp_path)
    with pytest.raises(ValueError, match="of another architecture"):
        Checkpointer(nn.Linear(4, 2), tmp_path).resume_or_load("", resume=True)


def test_weights_that_lie_beside_a_run_are_not_taken_for_its_checkpoints(tmp_path):
    torch.save(make_model().state_dict(), tmp_path / "resnet50.pth")
    assert not Checkpointer(make_model(), tmp_path).has_checkpoint()


def test_weights_that_are_not_finite_are_named_in_a_warning(tmp_path, caplog):
    model = make_model()
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    Checkpointer(model, tmp_path).save("m")
    Checkpointer(make_model()).load(str(tmp_path / "m.pth"))
    assert "NaN or infinity in 1 of 2 tensors: weight" in caplog.text


@pytest.mark.parametrize("state", [[1, 2], {"iteration": None}, {}])
def test_a_state_that_cannot_be_taken_back_is_named(tmp_path, state):
    model = make_model()
    torch.save({"model": model.state_dict(), "trainer": state}, tmp_path / "m.pth")
    trainer = SimpleTrainer(model, [], torch.optim.SGD(model.parameters(), lr=0.5))
    with pytest.raises(ValueError, match=r"m\.pth' holds a state of 'trainer' that cannot be"):
        Checkpointer(model, trainer=trainer).load(str(tmp_path / "m.pth"))


# What a kill leaves


KILLED_WHILE_SAVING = """
import os, signal, sys, torch
from torch import nn
from d2_engine.checkpoint import Checkpointer, checkpointer as module

def die(path):
    os.kill(os.getpid(), signal.SIGKILL)

module.add_checksum = die
Checkpointer(nn.Linear(3, 2), sys.argv[1]).save("model_0000039")
"""


def test_what_a_killed_save_left_is_removed_and_the_run_goes_on(tmp_path, caplog):
    save_run(tmp_path)
    before = set(tmp_path.iterdir())
    died = subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)])
    assert died.returncode == -signal.SIGKILL
    (leftover,) = set(tmp_path.iterdir()) - before
    assert leftover.stat().st_size > 0
    with caplog.at_level(logging.INFO):
        assert resumed(tmp_path) == 29
    assert not leftover.exists()
    assert f"Removed {leftover}" in caplog.text


def test_checkpoints_of_earlier_starts_count_among_those_that_are_kept(tmp_path):
    for start in (0, 4, 8):
        periodic = PeriodicCheckpointer(
            Checkpointer(make_model(), tmp_path), period=2, max_to_keep=2
        )
        for iteration in range(start, start + 4):
            periodic.step(iteration)
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0000009.pth", "model_0000011.pth"]


def test_what_a_run_overtook_is_removed_before_what_it_just_saved(tmp_path):
    checkpointer = Checkpointer(make_model(), tmp_path)
    for name in ("model_0000001", "model_0000009", "other_0000001", "model_best"):
        checkpointer.save(name)
    periodic = PeriodicCheckpointer(checkpointer, period=2, max_to_keep=1)
    periodic.step(3)
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == [
        *("model_0000003.pth", "model_0000009.pth", "model_best.pth", "other_0000001.pth")
    ]


class Counting(SimpleTrainer):
    """A trainer whose steps do nothing but count."""

    steps = 0

    def run_step(self) -> None:
        self.steps += 1


def train(folder: Path, *, resume: bool) -> Counting:
    model = make_model()
    trainer = Counting(model, [], torch.optim.SGD(model.parameters(), lr=0.1))
    checkpointer = Checkpointer(model, folder, trainer=trainer)
    trainer.register_hooks([PeriodicCheckpointerHook(checkpointer, 2)])
    if resume:
        checkpointer.resume_or_load("", resume=True)
    trainer.train(trainer.start_iter, 6)
    return trainer


def test_a_run_that_was_killed_before_its_final_checkpoint_makes_it_on_resuming(tmp_path):
    train(tmp_path, resume=False)
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text("model_0000005.pth")
    assert train(tmp_path, resume=True).steps == 0
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 5
    written = (tmp_path / "model_final.pth").stat().st_mtime_ns
    assert train(tmp_path, resume=True).start_iter == 6
    assert (tmp_path / "model_final.pth").stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", [flip_a_bit, cut, empty, Path.unlink])
def test_a_damaged_final_checkpoint_is_written_anew_by_resuming(tmp_path, caplog, damage):
    train(tmp_path, resume=False)
    final = tmp_path / "model_final.pth"
    good = torch.load(final, weights_only=True)
    damage(final)
    assert train(tmp_path, resume=True).steps == 0
    assert "model_0000005.pth instead" in caplog.text
    again = torch.load(final, weights_only=True)
    assert again["iteration"] == good["iteration"] == 5
    assert torch.equal(again["model"]["weight"], good["model"]["weight"])
    assert verify_checksums(final) == "every byte"


def test_a_final_checkpoint_that_is_damaged_with_the_one_before_is_trained_again(tmp_path):
    train(tmp_path, resume=False)
    for name in ("model_final.pth", "model_0000005.pth"):
        cut(tmp_path / name)
    assert train(tmp_path, resume=True).steps == 2
    for name in ("model_final.pth", "model_0000005.pth"):
        assert verify_checksums(tmp_path / name) == "every byte"
