"""Other people's weight names, and what fits a model."""

import re

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.backbone import FPN, BasicStem, ResNet
from d2_modeling.weights import (
    convert_caffe2_backbone,
    convert_torchvision_resnet,
    is_caffe2_backbone,
    is_torchvision_resnet,
    match_weights,
)


def resnet(depth: int, num_classes: int | None = None) -> ResNet:
    with torch.device("meta"):
        return ResNet(BasicStem(), ResNet.make_default_stages(depth), num_classes)


def torchvision_names(model: ResNet) -> dict[str, Tensor]:
    """Our names written the way torchvision does, without the code under test."""
    renamed = {}
    for name, value in model.state_dict().items():
        name = re.sub(r"^stem\.conv1\.norm", "bn1", name)
        name = re.sub(r"^stem\.conv1", "conv1", name)
        name = re.sub(r"^linear", "fc", name)
        name = re.sub(r"^res(\d)", lambda m: f"layer{int(m[1]) - 1}", name)
        name = re.sub(r"conv(\d)\.norm", r"bn\1", name)
        name = name.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
        renamed[name] = value
    return renamed


def caffe2_names(model: ResNet) -> dict[str, Tensor]:
    renamed = {}
    leaves = {"norm.weight": "bn_s", "norm.bias": "bn_b", "weight": "w"}
    for name, value in model.state_dict().items():
        if "running" in name or "tracked" in name:
            continue
        module, leaf = re.fullmatch(r"(.+?)\.((?:norm\.)?\w+)", name).groups()  # type: ignore[union-attr]  # always matches
        if module == "stem.conv1":
            renamed["conv1_w" if leaf == "weight" else f"res_conv1_{leaves[leaf]}"] = value
            continue
        stage, block, layer = module.split(".")
        branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}[layer]
        renamed[f"{stage}_{block}_branch{branch}_{leaves[leaf]}"] = value
    return renamed


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_torchvision_resnets_find_every_weight(depth: int) -> None:
    model = resnet(depth, num_classes=1000)
    theirs = torchvision_names(model)
    assert is_torchvision_resnet(theirs)
    assert set(convert_torchvision_resnet(theirs)) == set(model.state_dict())
    match = match_weights(model.state_dict(), convert_torchvision_resnet(theirs))
    assert match.complete
    assert match.report() == ""


def test_names_of_other_networks_are_not_torchvision_resnets() -> None:
    assert not is_torchvision_resnet(resnet(18).state_dict())
    with pytest.raises(ValueError, match=r"'features\.0\.weight' is not"):
        convert_torchvision_resnet({"features.0.weight": torch.zeros(1)})


def test_caffe2_resnets_find_every_weight_but_the_statistics() -> None:
    model = resnet(50)
    theirs = caffe2_names(model)
    assert is_caffe2_backbone(theirs)
    assert not is_caffe2_backbone(model.state_dict())
    match = match_weights(model.state_dict(), convert_caffe2_backbone(theirs))
    assert match.unexpected == []
    assert all("running" in name for name in match.missing)


def test_caffe2_momentum_is_dropped_and_other_names_stay() -> None:
    value = torch.zeros(1)
    converted = convert_caffe2_backbone(
        {
            "res2_0_branch2a_w": value,
            "res2_0_branch2a_w_momentum": value,
            "res2_0_branch2a_bn_rm": value,
            "res2_0_branch2a_bn_riv": value,
            "fc1000_b": value,
            "res_conv1_bn_gamma": value,
            "other": value,
        }
    )
    assert set(converted) == {
        "res2.0.conv1.weight",
        "res2.0.conv1.norm.running_mean",
        "res2.0.conv1.norm.running_var",
        "linear.bias",
        "stem.conv1.norm.weight",
        "other",
    }


def test_a_backbone_finds_its_place_inside_a_detector_by_suffix() -> None:
    with torch.device("meta"):
        stages = ResNet.make_default_stages(18)
        bottom_up = ResNet(BasicStem(), stages, out_features=["res2", "res3", "res4", "res5"])
        detector = nn.ModuleDict({"backbone": FPN(bottom_up, ["res4", "res5"], 64)})
    backbone = resnet(18, num_classes=10).state_dict()
    assert match_weights(detector.state_dict(), backbone).state_dict == {}
    match = match_weights(detector.state_dict(), backbone, by_suffix=True)
    assert match.source_names["backbone.bottom_up.res2.0.conv1.weight"] == "res2.0.conv1.weight"
    assert match.unexpected == ["linear.weight", "linear.bias"]
    assert all("fpn" in name for name in match.missing)
    assert "| linear.{bias, weight} " in match.report()
    assert "| backbone.fpn_lateral4.{bias, weight} " in match.report()


def test_the_longest_suffix_wins() -> None:
    model = {"a.b.weight": torch.zeros(1)}
    checkpoint = {"weight": torch.ones(2), "b.weight": torch.ones(1)}
    match = match_weights(model, checkpoint, by_suffix=True)
    assert match.source_names == {"a.b.weight": "b.weight"}
    assert match.unexpected == ["weight"]


def test_suffixes_are_cut_at_dots_only() -> None:
    match = match_weights(
        {"conv1.weight": torch.zeros(1)}, {"v1.weight": torch.zeros(1)}, by_suffix=True
    )
    assert match.missing == ["conv1.weight"]


def test_a_weight_that_fits_twice_is_an_error() -> None:
    model = {"a.weight": torch.zeros(1), "b.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"fits several .*a\.weight.*b\.weight"):
        match_weights(model, {"weight": torch.zeros(1)}, by_suffix=True)


def test_shape_mismatches_are_reported_with_both_shapes() -> None:
    match = match_weights({"a": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)})
    assert match.state_dict == {}
    assert match.mismatched == [("a", (2, 3), (3, 2))]
    assert not match.complete
    assert "| a          | (2, 3) | (3, 2)     | shapes differ: not loaded" in match.report()


def test_batch_counters_are_nobodys_loss() -> None:
    counter = torch.tensor(0)
    assert match_weights({"n.num_batches_tracked": counter}, {}).complete
    assert match_weights({}, {"n.num_batches_tracked": counter}).complete
