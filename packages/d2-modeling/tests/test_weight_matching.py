"""Which weight of a file goes where, for any names and shapes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_modeling.weights import (
    ShapeMismatch,
    WeightMatch,
    match_checkpoint,
    match_weights,
    names_of_nonfinite,
    tensors_of,
)

names = st.lists(st.sampled_from(["a", "b", "conv", "w"]), min_size=1, max_size=3).map(".".join)
shapes = st.sampled_from([(), (1,), (2,), (2, 3), (3, 2)])
states = st.dictionaries(names, shapes, max_size=6).map(
    lambda state: {name: torch.zeros(shape) for name, shape in state.items()}
)


@settings(deadline=None, max_examples=60)
@given(states, states)
def test_every_weight_is_matched_missing_unexpected_or_of_another_shape(
    model: dict[str, Tensor], checkpoint: dict[str, Tensor]
) -> None:
    match = match_weights(model, checkpoint)
    both = model.keys() & checkpoint.keys()
    equal = {name for name in both if model[name].shape == checkpoint[name].shape}
    assert match.state_dict.keys() == match.source_names.keys() == equal
    assert all(match.state_dict[name] is checkpoint[name] for name in equal)
    assert {one.name for one in match.mismatched} == both - equal
    assert match.missing == [name for name in model if name not in both]
    assert match.unexpected == [name for name in checkpoint if name not in both]
    assert match.complete == (model.keys() == checkpoint.keys() == equal)
    assert bool(match.report()) != match.complete


@settings(deadline=None, max_examples=60)
@given(states, states)
def test_endings_are_matched_only_where_one_belongs_to_one(
    model: dict[str, Tensor], checkpoint: dict[str, Tensor]
) -> None:
    def partner(name: str) -> str | None:
        parts = name.split(".")
        endings = [".".join(parts[k:]) for k in range(len(parts))]
        return next((one for one in endings if one in checkpoint), None)

    partners = [found for name in model if (found := partner(name)) is not None]
    if len(set(partners)) < len(partners):
        with pytest.raises(ValueError, match=r"fits several weights .* Rename"):
            match_weights(model, checkpoint, by_suffix=True)
        return
    match = match_weights(model, checkpoint, by_suffix=True)
    for name, source in match.source_names.items():
        assert source == partner(name)
        assert match.state_dict[name] is checkpoint[source]
    assert set(match.unexpected) == checkpoint.keys() - set(partners)


def test_what_fits_is_loaded_and_the_rest_stays_as_initialised() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(9, 9), "2.bias": torch.ones(1)}
    match = match_weights(model.state_dict(), given)
    model.load_state_dict(match.state_dict, strict=False)
    after = model.state_dict()
    assert after["0.weight"].eq(1).all()
    for name in ("0.bias", "1.weight", "1.bias"):
        assert torch.equal(after[name], before[name])
    assert match.mismatched == [ShapeMismatch("1.weight", (4, 3), (9, 9))]
    assert (match.missing, match.unexpected) == (["0.bias", "1.bias"], ["2.bias"])


def test_values_of_another_type_fit() -> None:
    half = torch.zeros(2, dtype=torch.float16)
    match = match_weights({"a": torch.zeros(2)}, {"a": half})
    assert match.state_dict["a"] is half


def test_two_empty_sides_are_complete() -> None:
    assert match_weights({}, {}).complete
    assert WeightMatch({}, {}).report() == ""


def test_the_report_groups_the_leaves_of_a_module_and_aligns_its_columns() -> None:
    model = {f"head.{leaf}": torch.zeros(1) for leaf in ("weight", "bias", "norm.weight")}
    model |= {"scale": torch.zeros(1)}
    report = match_weights(model, {"other.b": torch.zeros(1), "other.a": torch.zeros(1)}).report()
    lines = report.splitlines()
    assert len({len(line) for line in lines}) == 1
    first = [line.split("|")[1].strip() for line in lines]
    assert first[2:] == [
        *("0 that fit", "head.{bias, weight}", "head.norm.weight", "scale", "other.{a, b}"),
    ]


STATISTICS = ("running_mean", "running_var")


@pytest.mark.parametrize(
    ("given", "counter", "missing"),
    [
        (("weight", "bias"), False, []),
        (("weight", "bias"), True, list(STATISTICS)),
        (("weight",), False, ["bias", *STATISTICS]),
        (("weight", "bias", "running_mean"), False, ["running_var"]),
        ((), False, ["weight", "bias", *STATISTICS]),
    ],
)
def test_statistics_are_missed_unless_scale_and_shift_hold_them(
    given: tuple[str, ...], counter: bool, missing: list[str]
) -> None:
    leaves = ["weight", "bias", *STATISTICS] + ["num_batches_tracked"] * counter
    model = {f"n.{leaf}": torch.zeros(()) for leaf in leaves}
    match = match_weights(model, {f"n.{leaf}": torch.zeros(()) for leaf in given})
    assert match.missing == [f"n.{leaf}" for leaf in missing]


# Of any origin


def test_anchors_and_pixel_statistics_of_old_files_are_nobodys_surplus() -> None:
    model = {"head.weight": torch.zeros(1)}
    old = {
        "head.weight": torch.ones(1),
        "pixel_mean": torch.zeros(3, 1, 1),
        "pixel_std": torch.zeros(3, 1, 1),
        "anchor_generator.cell_anchors.0": torch.zeros(3, 4),
        "proposal_generator.anchor_generator.cell_anchors.4": torch.zeros(3, 4),
    }
    assert match_checkpoint(model, old).complete


def test_names_of_parallel_training_lose_their_prefix() -> None:
    model = {"a.weight": torch.zeros(1), "b.weight": torch.zeros(1)}
    wrapped = {f"module.{name}": torch.ones(1) for name in model}
    assert match_checkpoint(model, wrapped).complete
    partly = {"module.a.weight": torch.ones(1), "b.weight": torch.ones(1)}
    assert match_checkpoint(model, partly).missing == ["a.weight"]


def test_arrays_become_tensors_and_anything_else_is_named() -> None:
    model = {"a": torch.zeros(2)}
    match = match_checkpoint(model, {"a": np.array([1.0, 2.0], np.float32)})
    assert match.state_dict["a"].tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="weight 'a' must be a tensor or an array.* got str"):
        match_checkpoint(model, {"a": "1.0"})


def test_half_of_a_network_is_enough_to_find_its_place() -> None:
    inner = {f"conv{k}.weight": torch.zeros(1) for k in range(4)}
    model = {f"backbone.net.{name}": value for name, value in inner.items()}
    model |= {"head.weight": torch.zeros(1)}
    others = {f"decoder{k}.weight": torch.zeros(1) for k in range(8)}
    few = dict(list(others.items())[:4])
    assert match_checkpoint(model, inner | few).missing == ["head.weight"]
    assert match_checkpoint(model, inner | others).state_dict == {}


@pytest.mark.parametrize(
    "names",
    [
        ("layer1.0.conv1.weight", "bn1.bias", "fc.weight"),
        ("res2_0_branch2a_w", "res_conv1_bn_b", "fc1000_w"),
    ],
)
def test_a_bare_classifier_finds_its_place_in_a_detector(names: tuple[str, ...]) -> None:
    """Of torchvision or Caffe2; nothing in it says what is before its names."""
    places = ("res2.0.conv1.weight", "stem.conv1.norm.bias", "linear.weight")
    model = {f"backbone.bottom_up.{name}": torch.zeros(1) for name in places[:2]}
    match = match_checkpoint(model, {name: np.ones(1) for name in names})
    assert match.source_names == dict(zip(model, places, strict=False))
    assert match.unexpected == ["linear.weight"]


def test_a_detector_without_a_backbone_is_one_of_detectron_too() -> None:
    model = {"roi_heads.box_predictor.cls_score.bias": torch.zeros(3)}
    match = match_checkpoint(model, {"cls_score_w": np.zeros((3, 2)), "cls_score_b": np.arange(3)})
    (value,) = match.state_dict.values()
    assert value.tolist() == [1, 2, 0]


def test_endings_are_tried_if_asked_for() -> None:
    model = {"backbone.conv.weight": torch.zeros(1), "head.weight": torch.zeros(1)}
    given = {"conv.weight": torch.ones(1)}
    assert match_checkpoint(model, given).state_dict == {}
    assert match_checkpoint(model, given, by_suffix=True).missing == ["head.weight"]


# Values


ARRAYS: list[Any] = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.arange(6, dtype=">i8"),
    np.arange(6, dtype=np.uint8),
    np.arange(6, dtype=np.float16)[::-1],
    np.arange(6, dtype=np.float64).reshape(2, 3).T,
    np.arange(6, dtype=np.uint16),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.array(3.5),
    np.zeros((0, 4)),
    np.float32(3.5),
    np.int64(7),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype}{value.shape}")
def test_an_array_becomes_a_tensor_of_its_values_and_its_own_memory(value: Any) -> None:
    kept = np.array(value)
    tensor = tensors_of({"w": value})["w"]
    assert tuple(tensor.shape) == kept.shape
    assert tensor.tolist() == kept.tolist()
    if tensor.numel() and isinstance(value, np.ndarray):
        tensor.zero_()
        assert np.array_equal(value, kept)


def test_arrays_that_may_not_be_written_are_copied() -> None:
    value = np.arange(3.0)
    value.flags.writeable = False
    assert tensors_of({"w": value})["w"].add_(1).tolist() == [1, 2, 3]


def test_tensors_stay_as_they_are() -> None:
    for value in (torch.zeros(2), torch.zeros(2, requires_grad=True), nn.Parameter(torch.ones(1))):
        assert tensors_of({"w": value})["w"] is value


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: None, "got NoneType"),
        (lambda: 1.5, "got float"),
        (lambda: np.array([None]), "an array of object"),
        (lambda: np.array(["2020-01-01"], "datetime64[D]"), "an array of datetime64"),
        (lambda: np.zeros(2, [("x", "f4")]), "an array of"),
        (lambda: np.zeros(2, np.longdouble), "an array of float"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "type torch.qint8"),
        (lambda: torch.eye(2).to_sparse_csr(), "layout torch.sparse_csr"),
    ],
    ids=["none", "number", "objects", "dates", "records", "wide", "quantised", "sparse"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning", "ignore:torch.quantize:UserWarning")
def test_a_value_that_is_no_weight_is_named_with_what_it_is(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"weight 'head.w' must be .*{said}"):
        tensors_of({"ok": torch.ones(1), "head.w": make()})


def test_no_values_are_no_error() -> None:
    assert tensors_of({}) == {}


@pytest.mark.parametrize(
    ("value", "finite"),
    [
        (torch.tensor([float("inf"), -float("inf")]), False),
        (torch.tensor([1.0, float("nan")], dtype=torch.bfloat16), False),
        (torch.tensor([complex(0, float("inf"))]), False),
        (torch.full((9,), 3e38), True),  # whose sum overflows
        (torch.full((99,), 6e4, dtype=torch.float16), True),
        (torch.tensor([2**62, 2**62, 2**62]), True),
        (torch.tensor([True]), True),
        (torch.zeros(0), True),
        (torch.full((2,), torch.nan, device="meta"), True),  # which has no values
    ],
)
def test_weights_with_a_value_that_is_no_number_are_named(value: Tensor, finite: bool) -> None:
    assert names_of_nonfinite({"a": torch.ones(2), "w": value}) == ([] if finite else ["w"])
