"""Small projects, written as those for detectron2 are, run as they would be run."""

import importlib
import json
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2_data import DatasetCatalog, MetadataCatalog
from d2_modeling import META_ARCH_REGISTRY, ROI_HEADS_REGISTRY, SEM_SEG_HEADS_REGISTRY

Run = Callable[..., str]

PROJECTS = Path(__file__).parent / "projects"


@pytest.fixture
def project(tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the projects and a dataset; what they register is forgotten behind them."""
    shutil.copytree(PROJECTS, tmp_path, dirs_exist_ok=True)
    shutil.copytree(shapes, tmp_path / "shapes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registries = (META_ARCH_REGISTRY, ROI_HEADS_REGISTRY, SEM_SEG_HEADS_REGISTRY)
    before = [dict(registry._objects) for registry in registries]
    modules = set(sys.modules)
    yield tmp_path
    for registry, objects in zip(registries, before, strict=True):
        registry._objects = objects
    for name in set(sys.modules) - modules:
        if name.startswith(("query_detector", "attributes_head")):
            del sys.modules[name]
    if "shapes" in DatasetCatalog.list():
        DatasetCatalog.remove("shapes")
        MetadataCatalog.remove("shapes")


def call(script: str, *arguments: str) -> Any:
    """Call the main function of a training script as its command line does."""
    functions = runpy.run_path(script, run_name="script")
    from detectron2.engine import default_argument_parser

    return functions["main"](default_argument_parser().parse_args(list(arguments)))


def metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def last_losses(path: Path) -> dict[str, float]:
    return [line for line in metrics(path) if "total_loss" in line][-1]


def test_roi_heads_with_a_branch_of_their_own_train_from_the_command_line(
    project: Path, run_python: Run
):
    run_python(
        *("-m", "d2_engine.compat", "attributes_head.py", "--config-file", "attributes_head.yaml"),
        *("OUTPUT_DIR", "run"),
    )
    last = last_losses(project / "run" / "metrics.json")
    assert last["loss_attribute"] > 0
    assert last["attributes/num_foreground"] > 0
    assert "loss_cls" in last
    weights = torch.load(project / "run" / "model_final.pth", weights_only=True)["model"]
    assert weights["roi_heads.box_predictor.attribute_score.weight"].shape == (3, 12)


@pytest.mark.usefixtures("detectron2")
def test_their_results_are_evaluated(project: Path):
    options = ("--config-file", "attributes_head.yaml", "--eval-only", "OUTPUT_DIR", "run")
    results = call("attributes_head.py", *options)
    assert "AP" in results["bbox"]
    written = json.loads((project / "run/inference/coco_instances_results.json").read_text())
    assert written


@pytest.mark.usefixtures("detectron2")
def test_a_detector_of_queries_trains_with_its_own_mapper_and_is_evaluated(
    project: Path,
):
    options = ("--config-file", "query_detector.yaml", "OUTPUT_DIR", "run")
    results = call("query_train_net.py", *options)
    assert "AP" in results["shapes"]["segm"]
    last = last_losses(project / "run" / "metrics.json")
    assert {"loss_ce", "loss_mask", "total_loss"} <= last.keys()
    mapper = importlib.import_module("query_detector").QueryDatasetMapper
    assert mapper.from_config.__self__ is mapper


@pytest.mark.usefixtures("detectron2")
def test_a_lazy_config_that_names_detectron2_trains(project: Path):
    call("lazyconfig_train_net.py", "--config-file", "lazy_config.py")
    assert [line["iteration"] for line in metrics(project / "lazy" / "metrics.json")] == [0, 1]
    assert (project / "lazy" / "model_final.pth").is_file()
    saved = (project / "lazy" / "config.yaml").read_text()
    assert "detectron2.modeling.backbone.FPN" in saved


@pytest.mark.usefixtures("detectron2")
def test_a_loop_of_ones_own_trains_and_resumes(project: Path):
    options = ("--config-file", "attributes_head.yaml", "OUTPUT_DIR", "plain")
    call("plain_train_net.py", *options)
    first = metrics(project / "plain" / "metrics.json")
    assert [line["iteration"] for line in first] == [0, 1, 2]
    call("plain_train_net.py", "--resume", *options, "SOLVER.MAX_ITER", "5")
    again = metrics(project / "plain" / "metrics.json")
    assert [line["iteration"] for line in again] == [0, 1, 2, 3, 4]
    assert (project / "plain" / "model_final.pth").is_file()


@pytest.mark.usefixtures("detectron2")
def test_images_are_predicted_and_drawn_as_in_the_notebook(project: Path):
    import numpy as np

    functions = runpy.run_path("demo.py", run_name="demo")
    picture = functions["show"]("attributes_head.yaml", "shapes/images/000000.png")
    assert picture.shape == (76, 76, 3)
    assert picture.dtype == np.uint8
    frames = functions["show_video"]("attributes_head.yaml", "shapes/images/000000.png", 2)
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 2
