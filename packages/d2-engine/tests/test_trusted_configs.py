"""A config that is a file, or that of a run, builds parts of detectors and runs no code."""

import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from d2_config import (
    LazyCall,
    LazyConfig,
    UntrustedTargetError,
    check_targets,
    instantiate,
    trust_targets,
    trusted_targets,
    untrusted_modules,
)
from d2_engine.cli import main
from d2_engine.model_zoo import get_config, list_config_files
from d2_engine.run import load_plan, modules_to_trust
from d2_engine.run.configs import read_settings
from d2_structures import BoxMode


@pytest.fixture(autouse=True)
def nothing_added(monkeypatch):
    """What one test trusts, another does not."""
    monkeypatch.setattr(trusted_targets, "_added", set())


def loaded(folder: Path, text: str):
    (folder / "config.yaml").write_text(text)
    return LazyConfig.load(folder / "config.yaml")


ATTACKS = [
    "{_target_: os.system, command: 'touch MARKER'}",
    "{_target_: torch.load, f: MARKER, weights_only: false}",
    "{_target_: torch.hub.load, repo_or_dir: evil/repo, model: m}",
    "{_target_: torch.nn.functional.torch.hub.load, repo_or_dir: evil/repo, model: m}",
    "{_target_: torch.nn.functional.torch.serialization.load, f: MARKER, weights_only: false}",
    "{_target_: torch.nn.functional.importlib.import_module, name: antigravity}",
    "{_target_: torch.nn.functional.warnings.warn, message: MARKER}",
    "{_target_: torch.nn.functional.handle_torch_function}",
    "{_target_: torch.nn.modules.module.functools.partial, func: MARKER}",
    "{_target_: torch.nn.Module.load_state_dict, self: {_target_: torch.nn.ReLU}, state_dict: {}}",
    "{_target_: torch.nn.Module.__init__.__globals__.get, key: torch}",
    "{_target_: torch.nn.Conv2d.__mro__}",
    "{_target_: torch.nn.functional.Callable}",
    "{_target_: torch.optim.optimizer.torch.save, obj: 1, f: MARKER}",
    "{_target_: torch.classes.load_library, path: MARKER}",
    "{_target_: d2_config.LazyConfig.load, filename: evil.py}",
    "{_target_: d2_config.python_file.run_python_file, path: evil.py}",
    "{_target_: d2_config.files.atomic_file.write_atomically, filename: MARKER, content: x}",
    "{_target_: d2_config.instantiate, cfg: x}",
    "{_target_: d2_config.trust_targets}",
    "{_target_: d2_config.files.remote_files.fetch, path: 'http://evil'}",
    "{_target_: d2_engine.cli.main, argv: [train, evil.py]}",
    "{_target_: d2_engine.launch, main_func: 1, num_gpus_per_machine: 1}",
    "{_target_: d2_engine.run.import_modules, names: [evil]}",
    "{_target_: d2_engine.run.load_plan, config: evil.py}",
    "{_target_: d2_engine.model_zoo.get_config, config_path: evil.py}",
    "{_target_: d2_engine.checkpoint.Checkpointer.save, self: 1, name: MARKER}",
    "{_target_: d2_modeling.weights.add_checksum, path: MARKER}",
    "{_target_: d2_modeling.MMDetBackbone, backbone: {type: os.system}, output_shapes: []}",
    "{_target_: d2_structures.optional_imports.import_optional, name: evil, extra: x}",
    "{_target_: d2_structures.visualizer.VisImage.save, self: 1, filepath: MARKER}",
    "{_target_: d2_structures.allow_picture_format, format: EPS}",
    "{_target_: d2_data.datasets.convert_to_coco_json, dataset_name: a, output_file: MARKER}",
    "{_target_: d2_data.conversion.convert, source: a, target: MARKER}",
    "{_target_: d2_config.locate, name: os.system}",
    "{_target_: d2_config.saving.bind, function: {_target_: d2_config.locate, name: eval}}",
    "{_target_: torch.nn.Sequential, x: {_target_: d2_config.locate, name: builtins.exec}}",
    "{_target_: d2_engine.hooks.CallbackHook, before_train: {_target_: d2_config.locate, "
    "name: os.abort}}",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_could_run_code_or_write_files_is_refused(tmp_path, attack):
    cfg = loaded(tmp_path, f"model: {attack.replace('MARKER', str(tmp_path / 'executed'))}")
    for look in (check_targets, instantiate):
        with pytest.raises(UntrustedTargetError, match="may run any code.*--trust"):
            look(cfg)
    assert not (tmp_path / "executed").exists()


def test_ordinary_parts_are_built(tmp_path):
    cfg = LazyCall(dict)(
        layer=LazyCall(nn.Conv2d)(in_channels=1, out_channels=2, kernel_size=1),
        norm=nn.BatchNorm2d,
        activation=functools.partial(nn.functional.leaky_relu, negative_slope=0.1),
        mode=BoxMode.XYWH_ABS,
        initialize=nn.init.zeros_,
        rate=torch.optim.lr_scheduler.StepLR,
        optimizer=torch.optim.SGD,
    )
    LazyConfig.save(cfg, tmp_path / "config.yaml")
    built = instantiate(LazyConfig.load(tmp_path / "config.yaml"))
    assert isinstance(built["layer"], nn.Conv2d)
    assert built["activation"](torch.tensor(-1.0)) == pytest.approx(-0.1)
    assert {k: built[k] for k in ("norm", "mode", "initialize", "rate", "optimizer")} == {
        "norm": nn.BatchNorm2d,
        "mode": BoxMode.XYWH_ABS,
        "initialize": nn.init.zeros_,
        "rate": torch.optim.lr_scheduler.StepLR,
        "optimizer": torch.optim.SGD,
    }


@pytest.mark.parametrize("name", [n for n in list_config_files() if n.endswith(".py")])
def test_packaged_configs_are_built_from_their_files_without_more_trust(tmp_path, name):
    LazyConfig.save(get_config(name), tmp_path / "config.yaml")
    needed = untrusted_modules(LazyConfig.load(tmp_path / "config.yaml"))
    assert needed == (["d2_modeling.mmdet_wrapper"] if "mmdet" in name else [])


EVIL_RUN = """
model: {_target_: os.system, command: 'touch MARKER'}
dataloader: {train: null, test: {_target_: d2_data.build_detection_test_loader, dataset: []}}
train: {init_checkpoint: m.pth, output_dir: RUN, trainer: os.system}
"""


@pytest.fixture
def evil_run(tmp_path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    text = EVIL_RUN.replace("MARKER", str(tmp_path / "executed")).replace("RUN", str(run))
    (run / "config.yaml").write_text(text)
    torch.save({"model": {}}, run / "model_final.pth")
    (run / "last_checkpoint").write_text("model_final.pth")
    return run


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "RUN"],
        ["eval", "RUN/config.yaml"],
        ["train", "RUN/config.yaml", "--output", "RUN/other"],
        ["benchmark", "RUN"],
        ["predict", "PICTURE", "--run", "RUN"],
        ["predict", "PICTURE", "--config", "RUN/config.yaml"],
    ],
)
def test_no_command_runs_code_of_a_run(evil_run, capsys, words):
    picture = evil_run / "picture.png"
    picture.write_bytes(b"")
    words = [w.replace("RUN", str(evil_run)).replace("PICTURE", str(picture)) for w in words]
    assert main(words) == 1
    message = capsys.readouterr().err
    assert "model._target_ = os.system" in message
    assert "--trust os" in message
    assert not (evil_run.parent / "executed").exists()


def test_a_trainer_that_a_file_names_is_looked_up_like_any_target(evil_run):
    text = (evil_run / "config.yaml").read_text()
    (evil_run / "config.yaml").write_text(text.replace("_target_: os.system", "_target_: dict"))
    plan = load_plan(evil_run)
    with pytest.raises(UntrustedTargetError, match=r"'os\.system'"):
        plan.trainer(nn.Linear(1, 1), [], None)


def test_modules_of_the_reader_are_trusted_by_option_and_by_import(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "parts.py").write_text("class Model: pass")
    (tmp_path / "config.yaml").write_text(
        "model: {_target_: parts.Model}\ntrain: {init_checkpoint: m.pth}\n"
    )
    assert main(["eval", "config.yaml"]) == 1
    assert "--trust parts" in capsys.readouterr().err
    # With it the next thing is wrong: there is nothing to evaluate on.
    for option in ("--trust", "--import"):
        monkeypatch.setattr(trusted_targets, "_added", set())
        assert main(["eval", "config.yaml", option, "parts"]) == 1
        assert "nothing to evaluate on" in capsys.readouterr().err


def test_what_a_run_needs_to_be_trusted_is_known_from_its_folder(tmp_path):
    cfg = LazyCall(dict)(x=Path.cwd)
    LazyConfig.save(cfg, tmp_path / "config.yaml")
    assert modules_to_trust(tmp_path) == ["pathlib.Path"]
    trust_targets("pathlib.Path")
    assert modules_to_trust(tmp_path) == []
    assert read_settings(tmp_path / "config.yaml").cfg.x.name == "pathlib.Path.cwd"
