"""The packaged lazy configs, against those of the original system."""

import functools
import json
import re

import pytest
from omegaconf import OmegaConf

from d2_config import LazyConfig
from d2_engine import model_zoo

NOT_PACKAGED = re.compile("projects/(MViTv2|ViTDet/configs/(LVIS|COCO/.*(mvit|swin)))")
"""Original configs of projects whose backbones, or whose data, are not there."""

PARTIAL = re.compile(r"partial\(<function (\w+) at \w+>, (.*)\)")
"""A partial function as the original's data show it."""

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
    return {
        name.removeprefix("configs/"): config
        for name, config in configs.items()
        if not NOT_PACKAGED.match(name)
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
    if isinstance(value, functools.partial):
        return [value.func.__name__, {name: str(given) for name, given in value.keywords.items()}]
    if isinstance(value, str) and (partial := PARTIAL.search(value)):
        return [partial[1], dict(argument.split("=") for argument in partial[2].split(", "))]
    if isinstance(value, str) and value.startswith("<"):
        known = [ours for ours, theirs in DESCRIBED.items() if theirs in value]
        return known[0] if known else last_part(value)
    return last_part(value) if callable(value) else value


def test_every_official_config_has_its_original_values(golden):
    assert len(golden) == 45
    for name, original in golden.items():
        cfg = LazyConfig.load(model_zoo.get_config_file(name))
        ours = plain(OmegaConf.to_container(cfg, resolve=False))
        theirs = plain(original)
        if "train" in theirs:  # has options of our own beside the original ones
            ours["train"] = {key: ours["train"][key] for key in theirs["train"]}
        assert ours == theirs, name


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
