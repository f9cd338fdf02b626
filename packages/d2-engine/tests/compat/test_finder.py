"""What makes ``detectron2`` importable, and what it says where it cannot."""

import importlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import d2_engine
import d2_modeling
import d2_structures
from d2_config import LazyConfig, UntrustedTargetError, instantiate
from d2_engine import compat
from d2_engine.compat import module_map

Run = Callable[..., str]


def test_importing_the_package_installs_nothing(run_python: Run):
    code = "import d2_engine, d2_engine.compat, sys; print(d2_engine.compat.is_installed())"
    assert run_python("-c", code).strip() == "False"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("detectron2")


def test_one_import_installs_it(run_python: Run):
    code = """
import d2_engine.compat.detectron2
import detectron2
import detectron2.engine.defaults as d
from detectron2 import model_zoo
from detectron2.structures import *
print(d.DefaultTrainer.__module__, model_zoo.get_config.__name__, Boxes, detectron2.__version__)
"""
    assert "d2_engine.defaults.trainer get_config <class 'd2_structures.boxes.Boxes'> 0.6" in (
        run_python("-c", code)
    )


@pytest.mark.usefixtures("detectron2")
def test_classes_are_those_of_d2():
    from detectron2.engine import HookBase, launch
    from detectron2.modeling import META_ARCH_REGISTRY
    from detectron2.structures.instances import Instances

    assert Instances is d2_structures.Instances
    assert META_ARCH_REGISTRY is d2_modeling.META_ARCH_REGISTRY
    assert launch is d2_engine.launch
    assert HookBase is d2_engine.HookBase


@pytest.mark.usefixtures("detectron2")
def test_a_function_stays_a_function_when_the_module_of_its_name_is_imported():
    import detectron2.config.instantiate
    import detectron2.engine.launch
    from detectron2.engine import launch

    assert launch is d2_engine.launch
    assert detectron2.config.instantiate is instantiate


@pytest.mark.usefixtures("detectron2")
def test_what_is_assigned_to_a_module_counts(monkeypatch: pytest.MonkeyPatch):
    from detectron2.utils import comm

    monkeypatch.setattr(comm, "get_rank", lambda: 7)
    assert d2_structures.comm.get_rank() == 7


@pytest.mark.usefixtures("detectron2")
@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("import detectron2.nonsense", "does not provide detectron2.nonsense"),
        ("from detectron2.layers import Conv2b", "did you mean Conv2d"),
        (
            "from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputs",
            "methods of FastRCNNOutputLayers",
        ),
        ("import detectron2.structures.boxes.more.still", "does not provide"),
        ("import detectron2.export.caffe2_inference", "does not provide"),
        ("from fvcore.nn import nothing_like_it", "does not provide fvcore.nn.nothing_like_it"),
    ],
)
def test_what_is_not_there_is_named(statement: str, text: str):
    with pytest.raises(ImportError, match=text):
        exec(statement)


@pytest.mark.usefixtures("detectron2")
def test_an_attribute_that_is_not_there_is_an_attribute_error():
    import detectron2.layers

    assert not hasattr(detectron2.layers, "nothing_like_it")
    with pytest.raises(AttributeError, match="did you mean Conv2d"):
        detectron2.layers.Conv2b  # noqa: B018  # looked up for its error


def test_installing_twice_and_removing_twice_do_no_harm():
    before = list(sys.meta_path)
    compat.install()
    compat.install()
    assert len(sys.meta_path) == len(before) + 1
    compat.uninstall()
    compat.uninstall()
    assert sys.meta_path == before
    assert not any(name.split(".")[0] == "detectron2" for name in sys.modules)


def installed(folder: Path, package: str, content: str = "") -> None:
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(content)


def test_an_installed_detectron2_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installed(tmp_path, "detectron2")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="pip uninstall detectron2"):
        compat.install()
    assert not compat.is_installed()


def test_of_an_installed_fvcore_only_what_d2_has_is_hidden(tmp_path: Path, run_python: Run):
    installed(tmp_path, "fvcore")
    (tmp_path / "fvcore" / "extra.py").write_text(
        "from fvcore.transforms.transform import Transform"
    )
    code = """
import d2_engine.compat.detectron2
import d2_data.transforms
from fvcore.extra import Transform
print(Transform is d2_data.transforms.Transform)
"""
    assert run_python("-c", code).strip() == "True"


def test_an_import_that_came_before_is_named(tmp_path: Path, run_python: Run):
    installed(tmp_path, "iopath")
    code = "import iopath\nimport d2_engine.compat.detectron2"
    assert "iopath was imported before" in run_python("-c", code, fails=True)


@pytest.mark.usefixtures("detectron2")
def test_instances_that_detectron2_pickled_are_read():
    content = pickle.dumps(d2_structures.Instances((4, 5), scores=torch.ones(2)), protocol=0)
    original = content.replace(b"d2_structures.instances", b"detectron2.structures.instances")
    assert original != content
    found = pickle.loads(original)
    assert isinstance(found, d2_structures.Instances)
    assert found.image_size == (4, 5)
    assert len(found.scores) == 2


@pytest.mark.usefixtures("detectron2")
def test_targets_of_detectron2_are_built_and_trusted_as_those_of_d2(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "layer: {_target_: detectron2.layers.Conv2d, in_channels: 1, out_channels: 2, "
        "kernel_size: 3}\n"
    )
    assert isinstance(instantiate(LazyConfig.load(str(path)).layer), d2_modeling.layers.Conv2d)
    node: Any = OmegaConf.create(
        {"_target_": "detectron2.structures.Boxes", "tensor": [[0, 0, 1, 1]]}
    )
    assert isinstance(instantiate(node), d2_structures.Boxes)
    evaluators = "{_target_: detectron2.evaluation.SemSegEvaluator, dataset_name: none}"
    path.write_text(f"evaluator: {evaluators}\n")
    with pytest.raises(KeyError, match="'none' is not registered"):
        instantiate(LazyConfig.load(str(path)).evaluator)


@pytest.mark.usefixtures("detectron2")
@pytest.mark.parametrize(
    "name",
    [
        "detectron2.engine.launch",
        "detectron2.utils.visualizer.Visualizer",
        "detectron2.structures.Instances.to",
        "detectron2.utils.file_io.PathManager.rm",
        "d2_engine.compat.shims.evaluators.torch.load",
        "d2_engine.compat.shims.evaluators.DatasetCatalog.get",
    ],
)
def test_what_files_may_not_name_of_d2_they_may_not_name_of_detectron2(name: str, tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(f"part: {{_target_: {name}}}\n")
    with pytest.raises(UntrustedTargetError, match=name.rpartition(".")[2]):
        instantiate(LazyConfig.load(str(path)).part)


def test_every_single_name_of_the_tables_exists():
    missing = []
    for module, home in module_map.modules().items():
        for name in home.names:
            try:
                module_map.resolve(module, name)
            except (ImportError, AttributeError) as error:
                missing.append(f"{module}.{name}: {error}")
    assert missing == []


def test_translation_gives_the_name_in_d2():
    assert compat.translate("detectron2.modeling.FPN") == "d2_modeling.FPN"
    assert compat.translate("detectron2.evaluation.testing.flatten_results_dict") == (
        "d2_eval.flatten_results_dict"
    )
    assert compat.translate("detectron2.modeling.nothing") is None
    assert compat.is_provided("detectron2.modeling.roi_heads")
    assert not compat.is_provided("detectron2.nonsense")


def test_a_script_is_run_with_its_arguments(tmp_path: Path, run_python: Run):
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    (tmp_path / "script.py").write_text(
        "import sys\nfrom beside import NAME\nfrom detectron2.structures import Boxes\n"
        "if __name__ == '__main__':\n    print(Boxes.__module__, NAME, sys.argv)\n"
    )
    printed = run_python("-m", "d2_engine.compat", "script.py", "--num-gpus", "2")
    assert printed.strip() == "d2_structures.boxes beside ['script.py', '--num-gpus', '2']"


def test_a_module_is_run_with_its_package(tmp_path: Path, run_python: Run):
    installed(tmp_path, "tools")
    (tmp_path / "tools" / "names.py").write_text("NAME = 'names'")
    (tmp_path / "tools" / "train.py").write_text(
        "import sys\nfrom detectron2.layers import cat\nfrom .names import NAME\n"
        "print(NAME, sys.argv[1:])\n"
    )
    assert run_python("-m", "d2_engine.compat", "-m", "tools.train", "x").strip() == "names ['x']"


def test_processes_that_a_script_spawns_have_it_too(tmp_path: Path, run_python: Run):
    (tmp_path / "script.py").write_text(
        "import multiprocessing\n"
        "from detectron2.structures import Boxes\n"
        "class MyBoxes(Boxes): pass\n"
        "def work(queue, boxes): queue.put(type(boxes).__name__ + str(len(boxes)))\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    process = context.Process(target=work, args=(queue, MyBoxes([[0, 0, 1, 1]])))\n"
        "    process.start()\n"
        "    print(queue.get())\n"
        "    process.join()\n"
    )
    assert run_python("-m", "d2_engine.compat", "script.py").strip() == "MyBoxes1"


def test_without_a_script_the_usage_is_shown(run_python: Run):
    assert "usage: python -m d2_engine.compat" in run_python("-m", "d2_engine.compat", fails=True)
    assert "usage" in run_python("-m", "d2_engine.compat", "--help")
