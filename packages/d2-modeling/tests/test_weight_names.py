"""Names of Caffe2, Detectron and torchvision become ours, one by one and all together."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.backbone import BasicStem, ResNet
from d2_modeling.torchvision_detectors import detector_from_torchvision
from d2_modeling.weights import (
    convert_caffe2_backbone,
    convert_caffe2_detector,
    convert_torchvision_detector,
    convert_torchvision_resnet,
    is_caffe2_backbone,
    is_caffe2_detector,
    is_torchvision_detector,
    is_torchvision_resnet,
)

BRANCHES = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
stages, blocks = st.integers(2, 5), st.integers(0, 35)


# Caffe2


@given(stages, blocks, st.sampled_from(sorted(BRANCHES)), st.sampled_from(["bn", "gn"]))
def test_each_blob_of_a_block_has_its_place(stage: int, block: int, branch: str, kind: str) -> None:
    theirs, ours = f"res{stage}_{block}_{branch}", f"res{stage}.{block}.{BRANCHES[branch]}"
    leaves = {"w": "weight", "b": "bias", f"{kind}_s": "norm.weight", f"{kind}_b": "norm.bias"}
    leaves |= {f"{kind}_rm": "norm.running_mean", f"{kind}_riv": "norm.running_var"}
    leaves |= {f"{kind}_gamma": "norm.weight", f"{kind}_beta": "norm.bias"}
    leaves |= {f"{kind}_running_mean": "norm.running_mean"}
    leaves |= {f"{kind}_running_var": "norm.running_var"}
    for leaf, wanted in leaves.items():
        value = object()
        assert convert_caffe2_backbone({f"{theirs}_{leaf}": value}) == {f"{ours}.{wanted}": value}
    assert is_caffe2_backbone({f"{theirs}_w": 0})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("conv1_b", "stem.conv1.bias"),
        ("res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("res_conv1_bn_rm", "stem.conv1.norm.running_mean"),
        ("res_conv1_bn_riv", "stem.conv1.norm.running_var"),
        ("conv1_gn_s", "stem.conv1.norm.weight"),
        ("conv1_gn_b", "stem.conv1.norm.bias"),
        ("fc1000_w", "linear.weight"),
        ("pred_b", "linear.bias"),
        ("res2.0.conv1.weight", "res2.0.conv1.weight"),
        ("res2_0_branch3_w", "res2_0_branch3_w"),
        ("lr", "lr"),
    ],
)
def test_blobs_outside_of_blocks_are_known_or_stay(theirs: str, ours: str) -> None:
    assert convert_caffe2_backbone({theirs: 1}) == {ours: 1}
    assert is_caffe2_backbone({theirs: 1}) == bool(re.match(r"res\d_\d_branch[12]", ours))


def test_values_and_their_order_stay_as_they_are() -> None:
    values = {f"res3_{k}_branch2b_w": np.array([k]) for k in (5, 1, 3)}
    converted = convert_caffe2_backbone(values)
    assert list(converted) == ["res3.5.conv2.weight", "res3.1.conv2.weight", "res3.3.conv2.weight"]
    assert all(a is b for a, b in zip(converted.values(), values.values(), strict=True))


def test_no_weights_are_of_no_known_origin() -> None:
    for is_known in (is_caffe2_backbone, is_caffe2_detector, is_torchvision_detector):
        assert not is_known({})
    assert not is_torchvision_resnet({})


# Detectron


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("fpn_inner_res5_2_sum_w", "fpn_lateral5.weight"),
        ("fpn_inner_res4_22_sum_lateral_b", "fpn_lateral4.bias"),
        ("fpn_inner_res3_3_sum_lateral_gn_s", "fpn_lateral3.norm.weight"),
        ("fpn_res2_2_sum_w", "fpn_output2.weight"),
        ("fpn_res5_2_sum_gn_b", "fpn_output5.norm.bias"),
        ("fpn_6_w", "top_block.p6.weight"),
        ("fpn_7_b", "top_block.p7.bias"),
        ("conv_rpn_w", "proposal_generator.rpn_head.conv.weight"),
        ("conv_rpn_fpn2_b", "proposal_generator.rpn_head.conv.bias"),
        ("rpn_cls_logits_w", "proposal_generator.rpn_head.objectness_logits.weight"),
        ("rpn_cls_logits_fpn2_b", "proposal_generator.rpn_head.objectness_logits.bias"),
        ("rpn_bbox_pred_w", "proposal_generator.rpn_head.anchor_deltas.weight"),
        ("rpn_bbox_pred_fpn2_w", "proposal_generator.rpn_head.anchor_deltas.weight"),
        ("fc6_w", "box_head.fc1.weight"),
        ("fc7_b", "box_head.fc2.bias"),
        ("head_conv3_w", "box_head.conv3.weight"),
        ("head_conv1_gn_s", "box_head.conv1.norm.weight"),
        ("_[mask]_fcn4_w", "mask_head.mask_fcn4.weight"),
        ("_[mask]_fcn2_gn_b", "mask_head.mask_fcn2.norm.bias"),
        ("conv5_mask_w", "mask_head.deconv.weight"),
        ("conv_fcn8_b", "keypoint_head.conv_fcn8.bias"),
        ("kps_score_lowres_w", "keypoint_head.score_lowres.weight"),
        ("retnet_cls_conv_n3_fpn3_w", "head.cls_subnet.6.weight"),
        ("retnet_bbox_conv_n0_fpn3_b", "head.bbox_subnet.0.bias"),
        ("retnet_cls_pred_fpn3_w", "head.cls_score.weight"),
        ("retnet_bbox_pred_fpn3_b", "head.bbox_pred.bias"),
        ("res2_0_branch1_bn_s", "res2.0.shortcut.norm.weight"),
        ("conv1_w", "stem.conv1.weight"),
        ("something_else", "something_else"),
    ],
)
def test_each_blob_of_a_detector_has_its_place(theirs: str, ours: str) -> None:
    value = np.zeros((2, 1))
    converted = convert_caffe2_detector({theirs: value, f"{theirs}_momentum": value})
    assert list(converted) == [ours]
    assert converted[ours] is value


@pytest.mark.parametrize("make", [np.array, torch.tensor, lambda v: torch.tensor(v).bfloat16()])
def test_scores_of_background_go_last_and_its_boxes_are_left_out(make: Any) -> None:
    scores = make([[0.0, 0], [1, 1], [2, 2]])
    boxes = make([[float(k)] * 2 for k in range(12)])
    found = convert_caffe2_detector({"cls_score_w": scores, "bbox_pred_w": boxes})
    assert found["box_predictor.cls_score.weight"][:, 0].tolist() == [1, 2, 0]
    assert found["box_predictor.bbox_pred.weight"][:, 0].tolist() == list(range(4, 12))
    assert {type(value) for value in found.values()} == {type(scores)}
    assert scores[0, 0] == 0


@pytest.mark.parametrize(
    ("blob", "known"),
    [
        ("conv_rpn_w", True),
        ("conv_rpn_fpn2_w", True),
        ("retnet_cls_pred_fpn3_b", True),
        ("cls_score_w", True),
        ("cls_score.weight", False),
        ("res2_0_branch1_w", False),
    ],
)
def test_detectors_of_detectron_are_told_by_their_heads(blob: str, known: bool) -> None:
    assert is_caffe2_detector({"conv1_w": 0, blob: 0}) == known


# torchvision's classifiers


@given(st.integers(1, 4), blocks, st.integers(1, 3))
def test_each_weight_of_a_block_has_its_place(layer: int, block: int, number: int) -> None:
    theirs, ours = f"layer{layer}.{block}", f"res{layer + 1}.{block}"
    pairs = {f"conv{number}.weight": f"conv{number}.weight"}
    for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        pairs[f"bn{number}.{leaf}"] = f"conv{number}.norm.{leaf}"
        pairs[f"downsample.1.{leaf}"] = f"shortcut.norm.{leaf}"
    pairs["downsample.0.weight"] = "shortcut.weight"
    state = {f"{theirs}.{name}": torch.tensor(k) for k, name in enumerate(pairs)}
    converted = convert_torchvision_resnet(state)
    assert list(converted) == [f"{ours}.{name}" for name in pairs.values()]
    assert [int(value) for value in converted.values()] == list(range(len(pairs)))


@pytest.mark.parametrize(
    "name", ["layer1.0.conv1", "layer1.conv1.weight", "bn2.weight", "module.conv1.weight", "fc"]
)
def test_a_name_that_is_no_resnets_is_shown_with_such_that_are(name: str) -> None:
    state = {"layer1.0.conv1.weight": torch.zeros(1), name: torch.zeros(1)}
    assert not is_torchvision_resnet(state)
    with pytest.raises(ValueError, match=rf"'{re.escape(name)}' is not the name .* names like"):
        convert_torchvision_resnet(state)


# torchvision's detectors, whose names are written down here without torchvision


def body(depth: int = 50) -> dict[str, Tensor]:
    """A ResNet as torchvision names it in a detector; variances are 1."""
    with torch.device("meta"):
        stages = ResNet.make_default_stages(depth, norm="FrozenBN")
        network = ResNet(BasicStem(norm="FrozenBN"), stages)
    named = {}
    for name, value in network.state_dict().items():
        name = re.sub(r"^stem\.conv1\.norm", "bn1", name)
        name = re.sub(r"^stem\.conv1", "conv1", name)
        name = re.sub(r"^res(\d)", lambda m: f"layer{int(m[1]) - 1}", name)
        name = re.sub(r"conv(\d)\.norm", r"bn\1", name)
        name = name.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
        named[f"backbone.body.{name}"] = torch.ones(1).expand(value.shape)
    return named


BODY = body()


def layer(name: str, rows: int = 1) -> dict[str, Tensor]:
    """A weight and a bias whose rows are numbered."""
    numbers = torch.arange(float(rows))
    return {f"{name}.weight": numbers.view(-1, 1, 1, 1), f"{name}.bias": numbers.clone()}


def pyramid(levels: int) -> dict[str, Tensor]:
    parts = [
        f"backbone.fpn.{kind}_blocks.{k}.0" for kind in ("inner", "layer") for k in range(levels)
    ]
    return {k: v for part in parts for k, v in layer(part).items()}


def modules(state: dict[str, Tensor]) -> set[str]:
    return {name.rpartition(".")[0] for name in state if ".res" not in name and "stem" not in name}


def test_a_detector_is_told_by_its_backbone() -> None:
    assert is_torchvision_detector(BODY)
    assert not is_torchvision_detector({n.removeprefix("backbone."): v for n, v in BODY.items()})


@pytest.mark.parametrize(("levels", "finest"), [(4, 2), (3, 3)])
def test_levels_of_a_pyramid_are_counted_from_its_finest(levels: int, finest: int) -> None:
    found = modules(convert_torchvision_detector(BODY | pyramid(levels)))
    assert found == {
        f"backbone.fpn_{kind}{finest + k}" for kind in ("lateral", "output") for k in range(levels)
    }


def test_layers_of_region_based_detectors_have_their_places() -> None:
    theirs = [
        *("rpn.head.conv.0.0", "rpn.head.cls_logits", "rpn.head.bbox_pred"),
        *("roi_heads.box_head.fc6", "roi_heads.box_head.fc7"),
        *(f"roi_heads.mask_head.mask_fcn{k}" for k in range(1, 5)),
        *("roi_heads.mask_predictor.conv5_mask", "roi_heads.keypoint_predictor.kps_score_lowres"),
        *(f"roi_heads.keypoint_head.{2 * k}" for k in range(8)),
    ]
    state = {k: v for name in theirs for k, v in layer(name).items()}
    found = modules(convert_torchvision_detector(BODY | state))
    rpn = "proposal_generator.rpn_head"
    assert found == {
        *(f"{rpn}.conv", f"{rpn}.objectness_logits", f"{rpn}.anchor_deltas"),
        *("roi_heads.box_head.fc1", "roi_heads.box_head.fc2"),
        *(f"roi_heads.mask_head.mask_fcn{k}" for k in range(1, 5)),
        *("roi_heads.mask_head.deconv", "roi_heads.keypoint_head.score_lowres"),
        *(f"roi_heads.keypoint_head.conv_fcn{k}" for k in range(1, 9)),
    }


@pytest.mark.parametrize("nested", [True, False])
def test_towers_of_dense_detectors_have_their_places(nested: bool) -> None:
    """Those of RetinaNet are nested; those of FCOS have norms and activations between them."""
    inside, step = (".0", 1) if nested else ("", 3)
    state = {
        k: v
        for kind in ("classification", "regression")
        for number in range(4)
        for k, v in layer(f"head.{kind}_head.conv.{step * number}{inside}").items()
    }
    found = modules(convert_torchvision_detector(BODY | state))
    numbers = [2 * k for k in range(4)] if nested else [3 * k for k in range(4)]
    assert found == {f"head.{kind}_subnet.{k}" for kind in ("cls", "bbox") for k in numbers}


def test_background_of_regions_goes_last_and_has_no_box_and_no_mask() -> None:
    state = {
        **layer("roi_heads.box_predictor.cls_score", 4),
        **layer("roi_heads.box_predictor.bbox_pred", 16),
        **layer("roi_heads.mask_predictor.mask_fcn_logits", 4),
    }
    found = convert_torchvision_detector(BODY | state)
    for leaf in ("weight", "bias"):
        rows = {k: found[f"roi_heads.{k}.{leaf}"].flatten().tolist() for k in PREDICTORS}
        assert rows == {
            "box_predictor.cls_score": [1, 2, 3, 0],
            "box_predictor.bbox_pred": list(range(4, 16)),
            "mask_head.predictor": [1, 2, 3],
        }


PREDICTORS = ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor")


def dense(anchors: int, classes: int) -> dict[str, Tensor]:
    return {
        **layer("head.classification_head.cls_logits", anchors * classes),
        **layer("head.regression_head.bbox_reg", anchors * 4),
    }


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 5), st.integers(1, 3))
def test_anchors_come_by_size_and_then_by_ratio(classes: int, sizes: int) -> None:
    """torchvision has ratios first: its ``ratio * sizes + size`` is our ``3 * size + ratio``."""
    found = convert_torchvision_detector(BODY | dense(3 * sizes, classes))
    scores = found["head.cls_score.weight"].view(sizes, 3, classes - 1)
    deltas = found["head.bbox_pred.bias"].view(sizes, 3, 4)
    for size in range(sizes):
        for ratio in range(3):
            theirs = ratio * sizes + size
            first = theirs * classes + 1  # without background
            assert scores[size, ratio].tolist() == list(range(first, first + classes - 1))
            assert deltas[size, ratio].tolist() == list(range(4 * theirs, 4 * theirs + 4))
    assert all(value.is_contiguous() for name, value in found.items() if name.startswith("head"))


def test_one_anchor_per_place_keeps_its_order() -> None:
    state = dense(1, 4) | layer("head.regression_head.bbox_ctrness")
    found = convert_torchvision_detector(BODY | state)
    assert found["head.cls_score.bias"].tolist() == [1, 2, 3]
    assert found["head.bbox_pred.bias"].tolist() == [0, 1, 2, 3]
    assert "head.ctrness.weight" in found


@pytest.mark.parametrize(
    ("extra", "given", "eps"),
    [
        ({}, None, 0.0),
        (layer("head.regression_head.bbox_ctrness"), None, 1e-5),
        ({}, 1e-3, 1e-3),
        (layer("head.regression_head.bbox_ctrness"), 0.0, 0.0),
    ],
)
def test_the_epsilon_of_norms_becomes_part_of_their_variances(
    extra: dict[str, Tensor], given: float | None, eps: float
) -> None:
    """Ours add 1e-5 to them, so that the sums are equal."""
    found = convert_torchvision_detector(BODY | extra, norm_eps=given)
    variances = [value for name, value in found.items() if name.endswith("running_var")]
    assert len(variances) == 53
    for value in variances:
        assert (value.double() + 1e-5 - (1 + eps)).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["rpn.head.conv.1.0.weight", "roi_heads.box_head.5.weight", "x"])
def test_a_name_of_another_detector_is_shown_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{re.escape(name)}' is not .* version 1: fasterrcnn"):
        convert_torchvision_detector({**BODY, name: torch.zeros(1)})


HEADS = {
    "none": {},
    "regions": layer("roi_heads.box_predictor.cls_score", 4),
    "dense": dense(9, 4),
    "centers": dense(1, 4) | layer("head.regression_head.bbox_ctrness"),
}


@pytest.mark.parametrize("heads", ["regions", "dense", "centers"])
def test_a_model_on_another_network_is_refused_with_its_blocks(heads: str) -> None:
    with pytest.raises(ValueError, match=r"has \[2, 2\] blocks in res2 and res4: no ResNet-50"):
        detector_from_torchvision(body(18) | HEADS[heads])


def test_weights_without_a_head_are_of_no_detector() -> None:
    with pytest.raises(ValueError, match="no head of a detector .*box_predictor"):
        detector_from_torchvision(BODY | pyramid(4))


def test_a_detector_that_lacks_weights_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"fpn_lateral2\.\{bias, weight\}"):
        detector_from_torchvision(BODY | HEADS["regions"])


def test_a_classifier_is_no_detector() -> None:
    names = {name.removeprefix("backbone.body."): value for name, value in BODY.items()}
    with pytest.raises(ValueError, match="'conv1.weight' is not .* detectors of version 1"):
        detector_from_torchvision(names)
