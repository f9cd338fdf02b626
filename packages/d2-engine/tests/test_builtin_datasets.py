"""Every dataset that a packaged config names is built in."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import d2_engine.model_zoo
from d2_data import DatasetCatalog, MetadataCatalog

CONFIGS = Path(d2_engine.model_zoo.__file__).parent / "configs"


def names_in_yaml(path: Path) -> Iterator[str]:
    """What ``DATASETS.TRAIN`` and ``DATASETS.TEST`` hold."""
    datasets = (yaml.safe_load(path.read_text()) or {}).get("DATASETS", {})
    for key in ("TRAIN", "TEST"):
        value = datasets.get(key, ())
        yield from ast.literal_eval(value) if isinstance(value, str) else value


def names_in_python(path: Path) -> Iterator[str]:
    """What is written behind ``names=`` and ``names =``, if it is written out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "names":
            yield from written_names(node.value)
        elif isinstance(node, ast.Assign):
            targets = node.targets
            if any(isinstance(t, ast.Attribute) and t.attr == "names" for t in targets):
                yield from written_names(node.value)


def written_names(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, (ast.List, ast.Tuple)):
        yield from (element.value for element in node.elts)


NAMES_OF = {
    path.relative_to(CONFIGS).as_posix(): sorted(set(read(path)))
    for pattern, read in (("*.yaml", names_in_yaml), ("*.py", names_in_python))
    for path in CONFIGS.rglob(pattern)
}
NAMES = sorted({name for names in NAMES_OF.values() for name in names})


def test_names_are_found_in_both_kinds_of_config():
    assert "coco_2017_train" in NAMES_OF["parts/coco_1x.yaml"]
    assert NAMES_OF["common/data/coco.py"] == ["coco_2017_train", "coco_2017_val"]
    assert "keypoints_coco_2017_train" in NAMES_OF["common/data/coco_keypoint.py"]
    assert "coco_2017_val_panoptic_separated" in NAMES_OF["common/data/coco_panoptic_separated.py"]


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_of_a_packaged_config_resolves_to_metadata(name):
    assert name in DatasetCatalog
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type
    assert metadata.get("thing_classes") or metadata.get("stuff_classes")
