"""The packaged lazy configs, against those of the original system."""

import functools
import json
import re

import pytest
from omegaconf import OmegaConf

from d2_config import LazyConfig
from d2_data.detection_utils import get_fed_loss_cls_weights
from d2_engine import model_zoo

PARTIAL = re.compile(r"partial\(<function (\w+) at \w+>, (.*)\)")
"""A partial function as the original's data show it."""

ANONYMOUS = "get_fed_loss_cls_weights"
"""An anonymous function in the original, of which the recorded data tell nothing."""

# Where the original holds an object or an anonymous function, and ours what describes it.
DESCRIBED = {
    "naiveSyncBN_N": "lambda",
    "transformer_layer_norm": "LayerNorm'>, eps=1e-06",
    "torchvision.models.resnet50": "torchvision.models.resnet.ResNet(",
    "torchvision.transforms.ToTensor": "torchvision.transforms.transforms.ToTensor()",
}


@pytest.fixture(scope="module")
def golden(shared):
    configs = json.loads((shared / "golden" / "lazy_configs.json").read_text())
    return {name.removeprefix("configs/"): config for name, config in configs.items()}


def last_part(name) -> str:
    """The last part of a callable's name."""
    dotted = name if isinstance(name, str) else name.__qualname__
    return dotted.strip("<>").rpartition(".")[2]


def plain(value):
    """A config as plain data, with the last part of a callable's name for each callable."""
    if isinstance(value, dict):
        if list(value) == ["_target_"] and value["_target_"] in DESCRIBED:
            return value["_target_"]
        return {
            key: last_part(inner) if key == "_target_" else plain(inner)
            for key, inner in value.items()
            if key != ANONYMOUS
        }
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, functools.partial):
        return [value.func.__name__, {name: str(given) for name, given in value.keywords.items()}]
    if isinstance(value, str) and (partial := PARTIAL.search(value)):
        return [partial[1], dict(argument.split("=") for argument in partial[2].split(", "))]
    if isinstance(value, str) and value.startswith("<"):
        known = [ours for ours, theirs in DESCRIBED.items() if theirs in value]
        return known[0] if known else last_part(value)
    return last_part(value) if callable(value) else value


def test_every_official_config_has_its_original_values(golden):
    assert len(golden) == 70
    for name, original in golden.items():
        cfg = LazyConfig.load(model_zoo.get_config_file(name))
        ours = plain(OmegaConf.to_container(cfg, resolve=False))
        theirs = plain(original)
        if "train" in theirs:  # has options of our own beside the original ones
            ours["train"] = {key: ours["train"][key] for key in theirs["train"]}
        assert ours == theirs, name


def test_configs_of_lvis_draw_classes_by_the_root_of_their_frequency():
    for name in model_zoo.list_config_files():
        if "ViTDet/configs/LVIS" in name:
            heads = model_zoo.get_config(name).model.roi_heads
            for predictor in heads.get("box_predictors", [heads.get("box_predictor")]):
                function = predictor[ANONYMOUS]
                assert function.func is get_fed_loss_cls_weights
                assert function.keywords == {
                    "dataset_names": "lvis_v1_train",
                    "freq_weight_power": 0.5,
                }


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
