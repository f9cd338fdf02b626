"""Checkpoints on disk: what is saved, found, loaded and refused."""

import errno
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from d2_config.files import local_path
from d2_engine import SimpleTrainer
from d2_engine import checkpoint as checkpoint_package
from d2_engine.checkpoint import (
    Checkpointer,
    DetectionCheckpointer,
    PeriodicCheckpointer,
    read_checkpoint,
)


def make_model(width: int = 4) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


def zeroed(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def assert_equal_weights(first: nn.Module, second: nn.Module) -> None:
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_weights_states_and_extra_data_come_back(tmp_path):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    Checkpointer(model, tmp_path, optimizer=optimizer).save("model_9", epoch=3)

    other = zeroed(make_model())
    fresh = torch.optim.SGD(other.parameters(), lr=0.1)
    checkpointer = Checkpointer(other, tmp_path, optimizer=fresh)
    assert checkpointer.has_checkpoint()
    extra = checkpointer.load(checkpointer.get_checkpoint_file())
    assert extra == {"epoch": 3}
    assert_equal_weights(model, other)
    assert fresh.param_groups[0]["lr"] == 0.5


def test_a_state_that_a_checkpoint_lacks_is_named(tmp_path, caplog):
    model = make_model()
    Checkpointer(model, tmp_path).save("model")
    trainer = SimpleTrainer(model, [], torch.optim.SGD(model.parameters(), lr=0.5))
    Checkpointer(model, tmp_path, trainer=trainer).resume_or_load("", resume=True)
    assert "model.pth holds no state of 'trainer', which begins anew" in caplog.text
    assert "iteration 0" in caplog.text
    assert (trainer.iter, trainer.start_iter, trainer.batches_consumed) == (0, 0, 0)
    caplog.clear()
    Checkpointer(model, trainer=trainer).resume_or_load(str(tmp_path / "model.pth"))
    assert caplog.text == ""  # only weights were asked for


def test_only_the_named_states_are_loaded(tmp_path):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    Checkpointer(model, tmp_path, optimizer=optimizer).save("m")
    fresh = torch.optim.SGD(model.parameters(), lr=0.1)
    extra = Checkpointer(model, optimizer=fresh).load(str(tmp_path / "m.pth"), checkpointables=[])
    assert fresh.param_groups[0]["lr"] == 0.1
    assert "optimizer" in extra


def test_the_last_checkpoint_is_the_newest_and_all_are_listed(tmp_path):
    checkpointer = Checkpointer(make_model(), tmp_path)
    assert not checkpointer.has_checkpoint()
    assert checkpointer.get_checkpoint_file() == ""
    checkpointer.save("b")
    checkpointer.save("a")
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "a.pth")
    assert checkpointer.get_all_checkpoint_files() == [
        str(tmp_path / n) for n in ("a.pth", "b.pth")
    ]
    assert (tmp_path / "last_checkpoint").read_text() == "a.pth"


def test_resuming_prefers_the_last_checkpoint_over_initial_weights(tmp_path):
    trained, initial = make_model(), zeroed(make_model())
    Checkpointer(initial, tmp_path / "init").save("init")
    Checkpointer(trained, tmp_path / "run").save("model_5", iteration=5)
    model = make_model()
    checkpointer = Checkpointer(model, tmp_path / "run")
    path = str(tmp_path / "init" / "init.pth")
    assert checkpointer.resume_or_load(path, resume=False) == {}
    assert_equal_weights(model, initial)
    assert checkpointer.resume_or_load(path, resume=True) == {"iteration": 5}
    assert_equal_weights(model, trained)


def test_a_failing_save_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    model = make_model()
    checkpointer = Checkpointer(model, tmp_path)
    checkpointer.save("model")

    def write_half(data, path):
        Path(path).write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint_package.checkpointer.torch, "save", write_half)
    with pytest.raises(OSError, match="no space"):
        checkpointer.save("model")
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model.pth"]
    other = zeroed(make_model())
    Checkpointer(other, tmp_path).resume_or_load("")
    assert_equal_weights(model, other)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"),
            "no space",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "no space"),
        (OSError(errno.EACCES, "Permission denied", "x"), "Permission denied"),
        (RuntimeError("cannot pickle"), "cannot pickle"),
    ],
)
def test_only_errors_of_a_full_disk_are_taken_for_one(tmp_path, monkeypatch, error, said):
    def fail(data, path):
        raise error

    monkeypatch.setattr(checkpoint_package.checkpointer.torch, "save", fail)
    with pytest.raises((OSError, RuntimeError), match=said) as caught:
        Checkpointer(make_model(), tmp_path).save("model")
    assert (caught.value is error) == (said != "no space")
    assert list(tmp_path.iterdir()) == []


def test_a_compiled_model_is_saved_under_its_own_names(tmp_path):
    model, other = make_model(), zeroed(make_model())
    Checkpointer(torch.compile(model, backend="eager"), tmp_path).save("m")
    assert read_checkpoint(tmp_path / "m.pth")["model"].keys() == model.state_dict().keys()
    Checkpointer(torch.compile(other, backend="eager")).load(str(tmp_path / "m.pth"), strict=True)
    assert_equal_weights(model, other)


def test_saving_can_be_disabled(tmp_path):
    Checkpointer(make_model(), tmp_path, save_to_disk=False).save("m")
    assert list(tmp_path.iterdir()) == []


def test_no_path_keeps_the_initial_weights():
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert Checkpointer(model).load("") == {}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_names_of_distributed_models_are_understood(tmp_path):
    model = make_model()
    torch.save({f"module.{k}": v for k, v in model.state_dict().items()}, tmp_path / "ddp.pth")
    other = zeroed(make_model())
    Checkpointer(other).load(str(tmp_path / "ddp.pth"))
    assert_equal_weights(model, other)


def test_a_partial_fit_is_loaded_and_reported(tmp_path, caplog):
    model = nn.ModuleDict({"body": make_model(), "head": nn.Linear(2, 5)})
    Checkpointer(model, tmp_path).save("five_classes")
    other = zeroed(nn.ModuleDict({"body": make_model(), "head": nn.Linear(2, 7)}))
    Checkpointer(other).load(str(tmp_path / "five_classes.pth"))
    assert_equal_weights(model["body"], other["body"])
    assert "head.weight" in caplog.text


def test_a_checkpoint_of_another_architecture_is_refused_with_the_worst_mismatches(tmp_path):
    Checkpointer(make_model(64), tmp_path).save("wide")
    path = str(tmp_path / "wide.pth")
    with pytest.raises(ValueError, match="another") as caught:
        Checkpointer(make_model(4)).load(path, strict=True)
    message = str(caught.value)
    assert path in message
    assert "0.weight" in message
    assert "(64, 3)" in message
    assert "(4, 3)" in message


def test_strict_loading_wants_every_weight(tmp_path):
    Checkpointer(nn.ModuleDict({"body": make_model()}), tmp_path).save("body")
    model = nn.ModuleDict({"body": make_model(), "head": nn.Linear(2, 5)})
    path = str(tmp_path / "body.pth")
    Checkpointer(model).load(path)
    with pytest.raises(ValueError, match=r"head\.\{bias, weight\}"):
        Checkpointer(model).load(path, strict=True)


def test_a_missing_file_is_named_with_its_neighbours(tmp_path):
    Checkpointer(make_model(), tmp_path).save("model_final")
    with pytest.raises(FileNotFoundError, match=r"model_finl\.pth.*model_final\.pth"):
        Checkpointer(make_model()).load(str(tmp_path / "model_finl.pth"))


@pytest.mark.parametrize("kept", [0, 10, 400])
def test_a_truncated_file_is_named(tmp_path, kept):
    Checkpointer(make_model(), tmp_path).save("m")
    path = tmp_path / "m.pth"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"m\.pth' cannot be loaded"):
        Checkpointer(make_model()).load(str(path))


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_a_malicious_checkpoint_is_refused_unexecuted(tmp_path, suffix):
    marker = tmp_path / "executed"
    path = tmp_path / f"evil{suffix}"
    content = {"model": make_model().state_dict(), "extra": Evil(marker)}
    if suffix == ".pth":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"model": {}, "extra": Evil(marker)}))
    with pytest.raises(ValueError, match="evil"):
        DetectionCheckpointer(make_model()).load(str(path))
    assert not marker.exists()


def test_objects_without_a_state_and_taken_keys_are_refused():
    checkpointer = Checkpointer(make_model())
    with pytest.raises(TypeError, match="state_dict"):
        checkpointer.add_checkpointable("counter", 3)
    checkpointer.add_checkpointable("part", make_model())
    with pytest.raises(KeyError, match="part"):
        checkpointer.add_checkpointable("part", make_model())
    with pytest.raises(KeyError, match="model"):
        checkpointer.add_checkpointable("model", make_model())


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 1, bias=False)})
        self.res2 = nn.ModuleList([nn.ModuleDict({"conv1": nn.Conv2d(4, 4, 1, bias=False)})])


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"bottom_up": Backbone()})
        self.head = nn.Linear(4, 2)


WEIGHTS = {
    "stem.conv1.weight": torch.full((4, 3, 1, 1), 2.0),
    "res2.0.conv1.weight": torch.full((4, 4, 1, 1), 3.0),
}


def assert_backbone_loaded(model: Detector) -> None:
    state = model.backbone["bottom_up"].state_dict()
    for name, value in WEIGHTS.items():
        assert torch.equal(state[name], value), name


def test_a_zoo_backbone_pickle_finds_its_place(tmp_path):
    arrays = {name: value.numpy() for name, value in WEIGHTS.items()}
    content = {"model": arrays, "__author__": "zoo", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=2))
    model = Detector()
    DetectionCheckpointer(model).load(str(tmp_path / "R-50.pkl"))
    assert_backbone_loaded(model)


def test_a_caffe2_backbone_pickle_finds_its_place(tmp_path):
    blobs = {
        "conv1_w": WEIGHTS["stem.conv1.weight"].numpy(),
        "res2_0_branch2a_w": WEIGHTS["res2.0.conv1.weight"].numpy(),
        "conv1_w_momentum": np.zeros(3, np.float32),
    }
    (tmp_path / "old.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "…"}, protocol=2))
    model = Detector()
    DetectionCheckpointer(model).load(str(tmp_path / "old.pkl"))
    assert_backbone_loaded(model)


def test_a_torchvision_backbone_finds_its_place(tmp_path):
    names = {
        "conv1.weight": WEIGHTS["stem.conv1.weight"],
        "layer1.0.conv1.weight": WEIGHTS["res2.0.conv1.weight"],
        "fc.bias": torch.zeros(10),
    }
    torch.save(names, tmp_path / "resnet.pth")
    model = Detector()
    DetectionCheckpointer(model).load(str(tmp_path / "resnet.pth"))
    assert_backbone_loaded(model)


def test_periodic_checkpoints_are_thinned_out_and_the_final_one_is_kept(tmp_path):
    checkpointer = Checkpointer(make_model(), tmp_path)
    periodic = PeriodicCheckpointer(checkpointer, period=2, max_iter=9, max_to_keep=2)
    for iteration in range(9):
        periodic.step(iteration, note="x")
    names = [Path(p).name for p in checkpointer.get_all_checkpoint_files()]
    assert names == ["model_0000005.pth", "model_0000007.pth", "model_final.pth"]
    assert checkpointer.get_checkpoint_file().endswith("model_final.pth")
    assert checkpointer.load(checkpointer.get_checkpoint_file()) == {"iteration": 8, "note": "x"}


def test_impossible_periods_are_refused(tmp_path):
    checkpointer = Checkpointer(make_model(), tmp_path)
    with pytest.raises(ValueError, match="period"):
        PeriodicCheckpointer(checkpointer, period=0)
    with pytest.raises(ValueError, match="max_to_keep"):
        PeriodicCheckpointer(checkpointer, period=1, max_to_keep=0)


def test_a_checkpointer_loads_weights_from_a_url(monkeypatch, tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict()}, buffer)
    url = "https://example.org/linear.pth"
    monkeypatch.setenv("D2_CACHE", str(tmp_path))
    kept = local_path(url)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(buffer.getvalue())
    DetectionCheckpointer(other).load(url)
    assert torch.equal(model.weight, other.weight)
    assert read_checkpoint(url)["model"].keys() == model.state_dict().keys()


@pytest.mark.parametrize("ending", [".pth", ".pyth"])
def test_names_may_match_at_their_ends_where_the_path_or_the_file_says_so(tmp_path, ending):
    backbone = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    detector = nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))})
    path = tmp_path / f"backbone{ending}"
    key = "model_state" if ending == ".pyth" else "model"
    torch.save({key: backbone.state_dict()}, path)
    query = "" if ending == ".pyth" else "?matching_heuristics=True"
    DetectionCheckpointer(detector).load(f"{path}{query}")
    assert torch.equal(backbone[0].weight, detector["backbone"][0].weight)
