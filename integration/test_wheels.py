"""What the installed wheels contain."""

from importlib.metadata import distribution, files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir())


def contents(package: str) -> list[str]:
    return [str(path) for path in files(package) or [] if "__pycache__" not in str(path)]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_is_typed_licensed_and_described(package):
    module = package.replace("-", "_")
    names = contents(package)
    assert f"{module}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    metadata = distribution(package).metadata
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description"].startswith(f"# {package}")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_installs_its_module_and_nothing_else(package):
    module = package.replace("-", "_")
    tops = {name.split("/")[0] for name in contents(package) if not name.startswith("..")}
    assert {top for top in tops if not top.startswith(f"{module}-")} == {module}


def test_the_engine_carries_its_configs():
    names = contents("d2-engine")
    assert any(name.endswith("configs/quickstart/mask_rcnn_shapes.py") for name in names)
    assert any(name.endswith("configs/finetune/mask_rcnn_r50_fpn.py") for name in names)
