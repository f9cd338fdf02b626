"""Models of the zoo: their weights have the names and shapes of the published checkpoints."""

import json
import pickle
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch

from d2_config import CfgNode, instantiate
from d2_config.files import download, local_path
from d2_engine import model_zoo
from d2_modeling import build_model

PARTS = [
    "COCO-Keypoints/Base-Keypoint-RCNN-FPN.yaml",
    "COCO-PanopticSegmentation/Base-Panoptic-FPN.yaml",
    "common/models/cascade_rcnn.py",
    "common/models/fcos.py",
    "common/models/keypoint_rcnn_fpn.py",
    "common/models/mask_rcnn_c4.py",
    "common/models/mask_rcnn_fpn.py",
    "common/models/mask_rcnn_vitdet.py",
    "common/models/panoptic_fpn.py",
    "common/models/retinanet.py",
]
WITHOUT_REFERENCE = ("finetune/", "new_baselines/", "quick_schedules/", "quickstart/")
NAMES = [
    *(name for name in model_zoo.list_config_files() if not name.startswith(WITHOUT_REFERENCE)),
    *PARTS,
]


@pytest.fixture(scope="module")
def reference(shared):
    """The tables of names and shapes by config."""
    found = {}
    for file in ("state_dict_keys.json", "project_state_dicts.json"):
        content = json.loads((shared / "golden" / file).read_text())
        found |= {name: content["tables"][i] for name, i in content["configs"].items()}
    return {name: table for name, table in found.items() if "TensorMask" not in name}


def build_on_meta(name: str) -> torch.nn.Module:
    """Build a config's model without memory for its weights."""
    cfg = model_zoo.get_config(name)
    if isinstance(cfg, CfgNode):
        cfg.MODEL.DEVICE = "meta"
        return build_model(cfg)
    with torch.device("meta"):
        return instantiate(cfg.model)


def test_every_config_with_known_weights_is_checked(reference):
    assert reference.keys() <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_builds_the_model_of_its_checkpoint(name, reference):
    if name not in reference:
        pytest.skip("the original system could not build it either: it needs MMDetection")
    if "torchvision" in name:
        pytest.importorskip("torchvision")
    state_dict = build_on_meta(name).state_dict()
    shapes = {key: list(value.shape) for key, value in state_dict.items()}
    assert shapes == reference[name]


@pytest.mark.parametrize(
    "backbone", ["R_50_FPN", "R_101_FPN", "regnetx_4gf_dds_FPN", "regnety_4gf_dds_FPN"]
)
def test_new_baselines_are_as_large_as_the_table_says(backbone):
    name = f"new_baselines/mask_rcnn_{backbone}_100ep_LSJ.py"
    published = {model.config: model.parameters for model in model_zoo.published_models()}
    assert sum(p.numel() for p in build_on_meta(name).parameters()) == published[name]


@pytest.mark.parametrize("size", ["b_100ep", "l_100ep", "h_75ep"])
def test_vision_transformers_give_any_detector_their_features(size):
    for detector in ("mask_rcnn", "cascade_mask_rcnn"):
        name = f"projects/ViTDet/configs/COCO/{detector}_vitdet_{size}.py"
        width = build_on_meta(name).backbone.net.pos_embed.shape[-1]
        assert width == {"b": 768, "l": 1024, "h": 1280}[size[0]]


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache folder, without network."""

    def no_network(request, timeout: float):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("D2_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "urlopen", no_network)
    return tmp_path


def test_a_model_has_the_weights_that_its_config_names(cache):
    name = "COCO-Detection/rpn_R_50_FPN_1x.yaml"
    kept = local_path(model_zoo.get_config(name).MODEL.WEIGHTS)
    kept.parent.mkdir(parents=True)
    stem = np.random.default_rng(0).normal(size=(64, 3, 7, 7)).astype(np.float32)
    kept.write_bytes(
        pickle.dumps({"model": {"stem.conv1.weight": stem}, "matching_heuristics": True})
    )
    model = model_zoo.get(name, device="cpu")
    assert model.training
    assert torch.equal(model.backbone.bottom_up.stem.conv1.weight, torch.from_numpy(stem))


def test_without_a_connection_the_weights_are_named(cache):
    name = "COCO-Detection/rpn_R_50_C4_1x.yaml"
    with pytest.raises(ConnectionError) as caught:
        model_zoo.get(name, trained=True)
    assert model_zoo.get_checkpoint_url(name) in str(caught.value)
    assert str(local_path(model_zoo.get_checkpoint_url(name))) in str(caught.value)


def test_a_lazy_config_gives_its_model_too():
    model = model_zoo.get("quickstart/mask_rcnn_shapes.py")
    assert model.training
    assert next(model.parameters()).device == torch.device(
        "cpu" if not torch.cuda.is_available() else "cuda:0"
    )
