"""Builders that several test modules share."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from d2_data.datasets import coco_folder
from d2_data.datasets.shapes import generate_shapes
from d2_engine.cli import main
from d2_engine.run import RunPlan, load_plan
from d2_engine.run.settings import LazySettings, YacsSettings
from d2_engine.run_options import option_defaults


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_counts() -> Iterator[None]:
    """Let SIGINT interrupt, here and in what is started, also where it is ignored.

    It is in what a shell runs in the background.
    """
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference values and real data; tests that need it skip where it is absent."""
    repository = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("D2_SHARED", repository.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} does not exist (set D2_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def _fresh_loggers() -> Iterator[None]:
    """Undo what ``setup_logger`` does to the loggers of the whole process."""
    yield
    for name in ("d2", *(n for n in logging.root.manager.loggerDict if n.startswith("d2_"))):
        logger = logging.getLogger(name)
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
        for handler in [h for h in logger.handlers if type(h).__module__ != "_pytest.logging"]:
            logger.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny dataset in COCO's format: ``instances.json`` and ``images/``."""
    root = tmp_path_factory.mktemp("shapes") / "tiny"
    generate_shapes(root, 12, image_size=64, seed=3)
    return root


@attrs.frozen
class Tiny:
    """A small detector on the tiny dataset, as a user would write its config.

    Attributes:
        config: the file.
        names: meaning -> key of a config of this kind.
    """

    config: Path
    names: Mapping[str, str]

    def plan(self, folder: object, *overrides: str, **values: object) -> RunPlan:
        """Its plan with other values, by their meaning or as texts ``key=value``."""
        return load_plan(self.config, [*overrides, *self.set(**values)], output=str(folder))

    def set(self, **values: object) -> list[str]:
        """Texts ``key=value`` from values by their meaning."""
        return [f"{self.names[meaning]}={value}" for meaning, value in values.items()]


_OTHER_NAMES = {
    "yacs": {
        "workers": "DATALOADER.NUM_WORKERS",
        "num_classes": "MODEL.ROI_HEADS.NUM_CLASSES",
        "amp": "SOLVER.AMP.ENABLED",
        **{name: f"RUN.{name.upper()}" for name in option_defaults()},
        "precise_bn": "TEST.PRECISE_BN.ENABLED",
        "precise_bn_batches": "TEST.PRECISE_BN.NUM_ITER",
        "tta": "TEST.AUG.ENABLED",
        "tta_sizes": "TEST.AUG.MIN_SIZES",
        "expected": "TEST.EXPECTED_RESULTS",
        "clip": "SOLVER.CLIP_GRADIENTS.ENABLED",
        "clip_value": "SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
    },
    "lazy": {
        "workers": "dataloader.train.num_workers",
        "num_classes": "model.roi_heads.num_classes",
        "amp": "train.amp.enabled",
        **{name: f"train.{name}" for name in option_defaults()},
        "precise_bn": "train.precise_bn.enabled",
        "precise_bn_batches": "train.precise_bn.num_iter",
        "tta": "train.tta.enabled",
        "tta_sizes": "train.tta.min_sizes",
        "expected": "train.expected_results",
        "clip": "train.clip_gradients.enabled",
        "clip_value": "train.clip_gradients.clip_value",
    },
}


def _tiny_config(name: str, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tmp_path_factory.mktemp("config") / name
    text = Path(__file__).with_name("configs").joinpath(name).read_text()
    data = coco_folder(shapes / "instances.json", shapes / "images")
    config.write_text(text.replace('"DATA"', repr(data)))
    return config


@pytest.fixture(scope="session")
def tiny_lazy(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The quickstart config, smaller still."""
    config = _tiny_config("tiny.py", shapes, tmp_path_factory)
    return Tiny(config, {**LazySettings.NAMES, **_OTHER_NAMES["lazy"]})


@pytest.fixture(scope="session")
def tiny_yacs(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A small Mask R-CNN with batch norms that learn."""
    config = _tiny_config("tiny.yaml", shapes, tmp_path_factory)
    return Tiny(config, {**YacsSettings.NAMES, **_OTHER_NAMES["yacs"]})


@pytest.fixture(scope="session", params=["yacs", "lazy"])
def tiny(request: pytest.FixtureRequest, tiny_yacs: Tiny, tiny_lazy: Tiny) -> Tiny:
    """A small detector in each kind of config."""
    return {"yacs": tiny_yacs, "lazy": tiny_lazy}[request.param]


@pytest.fixture(scope="session")
def tiny_config(tiny_lazy: Tiny) -> Path:
    """The file of the lazy one."""
    return tiny_lazy.config


@pytest.fixture(scope="session")
def tiny_run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two iterations, of each kind."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    command = ["train", str(tiny.config), "--output", str(folder)]
    assert main([*command, *tiny.set(max_iter=2)]) == 0
    return folder


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that fails, and returns its one message, which has no traceback."""

    def run(*arguments: object, code: int = 1) -> str:
        assert main([str(argument) for argument in arguments]) == code
        error = capfd.readouterr().err
        assert "Traceback" not in error
        messages = [line for line in error.splitlines() if line.startswith("d2 ")]
        assert len(messages) == 1, error
        return error[error.index("d2 ") :]

    return run
