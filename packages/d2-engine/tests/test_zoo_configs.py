"""The packaged YAML configs, against those of the original system."""

import gzip
import json
from importlib.metadata import entry_points

import pytest
import yaml

from d2_config import get_cfg
from d2_engine import model_zoo

NOT_THERE = "projects/TensorMask/"
"""A project without its model here."""


@pytest.fixture(scope="module")
def golden(shared):
    dumps = {}
    for kind in ("all", "project"):
        with gzip.open(shared / "golden" / f"{kind}_yaml_cfg_dumps.json.gz", "rt") as file:
            dumps |= json.load(file)
    return {name: dump for name, dump in dumps.items() if not name.startswith(NOT_THERE)}


def parsed(text: str):
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the fast one if built


def test_every_official_config_resolves_to_its_original_values(golden, caplog):
    assert len(golden) == 92 + 22
    for name, dump in golden.items():
        assert parsed(model_zoo.get_config(name).dump()) == parsed(dump), name
    assert caplog.text == ""  # such as that a file does not state its version


def test_no_yaml_config_is_packaged_beside_the_official_ones(golden):
    packaged = {name for name in model_zoo.list_config_files() if name.endswith(".yaml")}
    assert packaged == {name for name in golden if "Base-" not in name}


def test_trained_names_the_published_weights():
    name = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
    assert model_zoo.get_config(name).MODEL.WEIGHTS.endswith("ImageNetPretrained/MSRA/R-50.pkl")
    trained = model_zoo.get_config(name, trained=True)
    assert model_zoo.get_checkpoint_url(name) == trained.MODEL.WEIGHTS


def test_trained_needs_published_weights():
    with pytest.raises(ValueError, match="no trained weights were published"):
        model_zoo.get_config("Misc/semantic_R_50_FPN_1x.yaml", trained=True)


def test_a_config_of_ones_own_builds_on_a_packaged_one(tmp_path):
    folders = entry_points(group="d2_config.config_folders")
    if "model_zoo" not in folders.names:
        pytest.skip("d2-engine is not installed, only on the path: it has no entry points")
    mine = tmp_path / "mine.yaml"
    mine.write_text("_BASE_: COCO-Detection/retinanet_R_50_FPN_1x.yaml\nMODEL: {MASK_ON: true}\n")
    cfg = get_cfg()
    cfg.merge_from_file(mine)
    assert cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    assert cfg.MODEL.MASK_ON
