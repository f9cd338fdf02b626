"""Yacs-style configs: access, merging, files."""

import copy
import os
import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_config import CfgNode, ConfigFileError, get_cfg


@pytest.fixture
def cfg() -> CfgNode:
    return CfgNode({"A": {"B": 1, "C": [1, 2], "D": "text"}, "E": 0.5, "F": True, "G": (1, 2)})


def shared_folder() -> Path:
    repository = Path(__file__).resolve().parents[3]
    return Path(os.environ.get("D2_SHARED", repository.parent / "shared"))


def test_values_are_attributes_and_items(cfg: CfgNode) -> None:
    assert cfg.A.B == cfg["A"]["B"] == 1
    cfg.A.B = 3
    assert cfg["A"]["B"] == 3
    with pytest.raises(AttributeError, match="NOPE"):
        _ = cfg.A.NOPE


def test_a_frozen_config_cannot_be_changed(cfg: CfgNode) -> None:
    cfg.freeze()
    assert cfg.A.is_frozen()
    for change in (
        lambda: setattr(cfg.A, "B", 2),
        lambda: cfg.merge_from_list(["A.B", 2]),
        lambda: cfg.pop("E"),
        lambda: cfg.update(E=1.0),
    ):
        with pytest.raises(AttributeError, match="frozen"):
            change()
    assert cfg.A.B == 1
    cfg.defrost()
    cfg.A.B = 2
    assert cfg.A.B == 2


def test_a_clone_is_independent(cfg: CfgNode) -> None:
    for other in (cfg.clone(), copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert other == cfg
        other.A.C.append(3)
        assert cfg.A.C == [1, 2]


def test_lists_of_keys_and_values_are_merged_and_decoded(cfg: CfgNode) -> None:
    cfg.merge_from_list(["A.B", "7", "A.C", "[3]", "E", 2, "A.D", "other", "G", [3, 4]])
    assert (cfg.A.B, cfg.A.C, cfg.A.D) == (7, [3], "other")
    assert cfg.E == 2.0
    assert isinstance(cfg.E, float)
    assert cfg.G == (3, 4)


def test_a_value_of_another_type_is_refused_and_nothing_changes(cfg: CfgNode) -> None:
    with pytest.raises(ValueError, match=r"A\.B"):
        cfg.merge_from_list(["E", 0.25, "A.B", "seven"])
    assert cfg.E == 0.5


def test_an_unknown_key_names_close_ones(cfg: CfgNode) -> None:
    with pytest.raises(KeyError, match=r"Did you mean A\.D"):
        cfg.merge_from_other_cfg({"A": {"DD": "x"}})


def test_new_keys_are_taken_where_they_are_allowed() -> None:
    cfg = CfgNode({"A": 1}, new_allowed=True)
    cfg.merge_from_other_cfg(CfgNode({"B": {"C": 2}}))
    assert cfg.B.C == 2


def test_renamed_and_deprecated_keys_are_known(cfg: CfgNode) -> None:
    cfg.register_deprecated_key("A.OLD")
    cfg.register_renamed_key("A.FORMER", "A.B", message="it counts from 1 now")
    cfg.merge_from_list(["A.OLD", 1])
    assert "OLD" not in cfg.A
    with pytest.raises(KeyError, match=r"A\.B.*it counts from 1 now"):
        cfg.merge_from_list(["A.FORMER", 2])


def test_files_build_on_bases_relative_to_them(cfg: CfgNode, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text("A:\n  B: 5\n  D: base\n")
    (tmp_path / "sub" / "leaf.yaml").write_text("_BASE_: ../base.yaml\nA:\n  D: leaf\n")
    cfg.merge_from_file(str(tmp_path / "sub" / "leaf.yaml"))
    assert (cfg.A.B, cfg.A.D) == (5, "leaf")


def test_a_file_that_would_construct_objects_is_refused(cfg: CfgNode, tmp_path: Path) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text("A: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigFileError, match=r"python/object/apply:os\.system.*allow_unsafe"):
        cfg.merge_from_file(str(file))


def test_a_dump_comes_back(cfg: CfgNode) -> None:
    assert CfgNode.load_cfg(cfg.dump()) == cfg.load_cfg(cfg.dump())
    read = yaml.safe_load(cfg.dump())
    assert read["A"] == {"B": 1, "C": [1, 2], "D": "text"}


names = st.text("ABCDE", min_size=1, max_size=3)
values = st.one_of(st.integers(-9, 9), st.booleans(), st.text("xyz", min_size=1), st.floats(-2, 2))
trees = st.dictionaries(names, st.one_of(values, st.dictionaries(names, values, max_size=3)))


@settings(max_examples=60, deadline=None)
@given(tree=trees)
def test_merging_a_config_into_its_clone_changes_nothing(tree: dict) -> None:
    cfg = CfgNode(tree)
    merged = cfg.clone()
    merged.merge_from_other_cfg(cfg)
    assert merged == cfg


def test_the_defaults_are_those_of_the_reference() -> None:
    reference = shared_folder() / "golden" / "default_cfg.yaml"
    if not reference.is_file():
        pytest.skip(f"no reference: {reference} does not exist (set D2_SHARED)")
    assert yaml.safe_load(get_cfg().dump()) == yaml.safe_load(reference.read_text())


def test_defaults_are_new_each_time() -> None:
    get_cfg().MODEL.RPN.IN_FEATURES.append("x")
    assert "x" not in get_cfg().MODEL.RPN.IN_FEATURES
