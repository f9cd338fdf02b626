"""The packaged lazy configs, against those of the original system."""

import importlib
import json
import re

import pytest
from omegaconf import OmegaConf

from d2_config import LazyConfig
from d2_config.errors import ConfigFileError
from d2_engine import model_zoo

PARTS_TO_COME = {
    "d2_eval": ["COCOPanopticEvaluator", "SemSegEvaluator"],
    "d2_modeling": ["MMDetDetector"],
    "d2_modeling.backbone": ["RegNet"],
    "d2_modeling.meta_arch": ["FCOS", "PanopticFPN", "RetinaNet"],
    "d2_modeling.roi_heads": ["CascadeROIHeads", "Res5ROIHeads"],
}
"""What configs import that is not there yet; they cannot be loaded, and nothing else may miss."""

CONFIGS_TO_COME = ("projects/", "configs/common/models/mask_rcnn_vitdet.py")
"""Original configs that are not packaged yet."""

CANNOT_IMPORT = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")

# Where the original holds an object or an anonymous function, and ours what describes it.
DESCRIBED = {
    "naiveSyncBN_N": "lambda",
    "torchvision.models.resnet50": "torchvision.models.resnet.ResNet(",
    "torchvision.transforms.ToTensor": "torchvision.transforms.transforms.ToTensor()",
}


@pytest.fixture(scope="module")
def golden(shared):
    configs = json.loads((shared / "golden" / "lazy_configs.json").read_text())
    return {
        name.removeprefix("configs/"): config
        for name, config in configs.items()
        if not name.startswith(CONFIGS_TO_COME)
    }


def last_part(name) -> str:
    """The last part of a callable's name."""
    dotted = name if isinstance(name, str) else name.__qualname__
    return dotted.strip("<>").rpartition(".")[2]


def plain(value):
    """A config as plain data, with the last part of a callable's name for each callable."""
    if isinstance(value, dict):
        if list(value) == ["_target_"] and value["_target_"] in DESCRIBED:
            return value["_target_"]
        return {k: last_part(v) if k == "_target_" else plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, str) and value.startswith("<"):
        known = [ours for ours, theirs in DESCRIBED.items() if theirs in value]
        return known[0] if known else last_part(value)
    return last_part(value) if callable(value) else value


def load(name: str):
    """Load a config; None if it waits for a part to come."""
    try:
        return LazyConfig.load(model_zoo.get_config_file(name))
    except ConfigFileError as error:
        missing = CANNOT_IMPORT.search(str(error))
        if missing is None or missing[1] not in PARTS_TO_COME[missing[2]]:
            raise
        return None


def test_every_official_config_has_its_original_values(golden):
    loaded = {name: cfg for name in golden if (cfg := load(name)) is not None}
    assert len(golden) == 37
    assert "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py" in loaded
    for name, cfg in loaded.items():
        ours = plain(OmegaConf.to_container(cfg, resolve=False))
        theirs = plain(golden[name])
        if "train" in theirs:  # has options of our own beside the original ones
            ours["train"] = {key: ours["train"][key] for key in theirs["train"]}
        assert ours == theirs, name


def test_no_part_that_is_there_is_waited_for():
    there = [
        f"{module}.{name}"
        for module, names in PARTS_TO_COME.items()
        for name in names
        if hasattr(importlib.import_module(module), name)
    ]
    assert there == [], "these are here now: strike them off PARTS_TO_COME"


def test_every_lazy_config_is_official_or_explains_itself(golden):
    for name in model_zoo.list_config_files():
        if name.endswith(".py") and name not in golden:
            assert name.startswith(("quickstart/", "finetune/")), name


def test_trained_names_the_published_weights():
    name = "new_baselines/mask_rcnn_R_50_FPN_400ep_LSJ.py"
    cfg = model_zoo.get_config(name, trained=True)
    assert cfg.train.init_checkpoint == model_zoo.get_checkpoint_url(name)


def test_a_part_of_configs_has_no_trained_weights():
    with pytest.raises(ValueError, match="no trained weights were published"):
        model_zoo.get_config("common/models/mask_rcnn_fpn.py", trained=True)
