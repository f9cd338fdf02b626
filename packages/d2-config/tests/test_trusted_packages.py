"""Targets of torchvision and timm, by packages laid out as theirs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d2_config import LazyConfig, UntrustedTargetError, instantiate, trusted_targets
from d2_config.trusted_targets import check_targets

MODEL = """
class Model:
    def __init__(self, name, **options): self.name, self.options = name, options
def {name}(**options): return Model({name!r}, **options)
"""

FILES = {
    "torchvision/__init__.py": "",
    "torchvision/models/__init__.py": "from .resnet import resnet18",
    "torchvision/models/resnet.py": MODEL.format(name="resnet18"),
    "torchvision/models/feature_extraction.py": "def create_feature_extractor(code): exec(code)",
    "torchvision/ops/__init__.py": "from .boxes import nms",
    "torchvision/ops/boxes.py": "def nms(threshold): return threshold",
    "torchvision/io/__init__.py": "from .image import write_png",
    "torchvision/io/image.py": "def write_png(filename): open(filename, 'w').close()",
    "torchvision/datasets/__init__.py": "from .imagenet import ImageNet\nfrom . import utils",
    "torchvision/datasets/imagenet.py": "class ImageNet:\n    def __init__(self, root): pass",
    "torchvision/datasets/utils.py": "def download_url(filename): open(filename, 'w').close()",
    "timm/__init__.py": "from .models import create_model",
    "timm/models/__init__.py": "from ._factory import create_model\nfrom .resnet import resnet50",
    "timm/models/_factory.py": (
        "from ._helpers import load_checkpoint\n"
        "def create_model(model_name, **options):\n"
        "    if 'checkpoint_path' in options: load_checkpoint(options['checkpoint_path'])\n"
        "    return model_name, options"
    ),
    "timm/models/_helpers.py": "def load_checkpoint(path): open(path, 'w').close()",
    "timm/models/resnet.py": MODEL.format(name="resnet50"),
    "timm/utils/__init__.py": "import os",
}


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packages called torchvision and timm, found before any that are installed."""
    for name, content in FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in [n for n in sys.modules if n.partition(".")[0] in ("torchvision", "timm")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(trusted_targets, "_added", set())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("torchvision", "timm"):
            del sys.modules[name]


def loaded(folder: Path, text: str) -> Any:
    (folder / "config.yaml").write_text(f"part: {text}")
    return LazyConfig.load(folder / "config.yaml")


@pytest.mark.parametrize("module", ["torchvision.models", "torchvision.models.resnet"])
def test_a_model_of_torchvision_is_built_by_either_of_its_names(
    tmp_path: Path, module: str
) -> None:
    cfg = loaded(tmp_path, f"{{_target_: {module}.resnet18, num_classes: 7}}")
    check_targets(cfg)
    model = instantiate(cfg)["part"]
    assert (model.name, model.options) == ("resnet18", {"num_classes": 7})


def test_operators_and_datasets_of_torchvision_are_built(tmp_path: Path) -> None:
    cfg = loaded(tmp_path, "{_target_: torchvision.ops.nms, threshold: 0.5}")
    assert instantiate(cfg)["part"] == 0.5
    cfg = loaded(tmp_path, "{_target_: torchvision.datasets.ImageNet, root: x}")
    assert type(instantiate(cfg)["part"]).__name__ == "ImageNet"


@pytest.mark.parametrize("name", ["timm.create_model", "timm.models.create_model"])
def test_a_model_of_timm_is_built_but_not_from_a_file(tmp_path: Path, name: str) -> None:
    cfg = loaded(tmp_path, f"{{_target_: {name}, model_name: resnet50, num_classes: 7}}")
    check_targets(cfg)
    assert instantiate(cfg)["part"] == ("resnet50", {"num_classes": 7})
    target = tmp_path / "executed"
    cfg = loaded(tmp_path, f"{{_target_: {name}, model_name: a, checkpoint_path: {target}}}")
    with pytest.raises(UntrustedTargetError, match="checkpoint_path.*--trust timm"):
        instantiate(cfg)
    assert not target.exists()


@pytest.mark.parametrize(
    "text",
    [
        "{_target_: torchvision.io.write_png, filename: MARKER}",
        "{_target_: torchvision.datasets.utils.download_url, filename: MARKER}",
        "{_target_: torchvision.models.feature_extraction.create_feature_extractor, code: x}",
        "{_target_: timm.models._helpers.load_checkpoint, path: MARKER}",
        "{_target_: timm.models._factory.load_checkpoint, path: MARKER}",
        "{_target_: timm.utils.os.system, command: touch MARKER}",
    ],
)
def test_what_these_packages_could_write_or_run_is_refused(tmp_path: Path, text: str) -> None:
    cfg = loaded(tmp_path, text.replace("MARKER", str(tmp_path / "executed")))
    for look in (check_targets, instantiate):
        with pytest.raises(UntrustedTargetError, match="may run any code.*--trust"):
            look(cfg)
    assert not (tmp_path / "executed").exists()
