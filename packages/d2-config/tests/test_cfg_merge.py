"""What merging keys into a yacs-style config changes, and what it refuses."""

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_config import CfgNode, ConfigKeyError, ConfigTypeError, get_cfg
from d2_config.cfg_merge import plan_merge


def merged(current: Any, new: Any) -> Any:
    """The value of a key that had one value and is given another."""
    cfg = CfgNode({"KEY": current})
    cfg.merge_from_other_cfg({"KEY": new})
    return cfg.KEY


def where(path: str) -> str:
    return f"<{path}>"


def test_a_plan_changes_nothing() -> None:
    cfg = CfgNode({"A": {"B": 1, "C": 2}})
    changes = list(plan_merge(cfg, {"A": {"B": 5}}, where))
    assert [(key, value) for _, key, value in changes] == [("B", 5)]
    assert changes[0][0] is cfg.A
    assert cfg.A.B == 1


@pytest.mark.parametrize(
    ("current", "new", "expected"),
    [
        (1, 2, 2),
        (1, "2", 2),
        (1.0, 2, 2.0),
        ((1, 2), [3], (3,)),
        ([1, 2], (3,), [3]),
        ((1, 2), "[3, 4]", (3, 4)),
        ("text", "(1, 2)", "(1, 2)"),
        ("text", None, None),
        (None, 5, 5),
        (None, "text", "text"),
        (True, "False", False),
        ([], [[1], "x"], [[1], "x"]),
    ],
)
def test_the_type_that_is_there_stays(current: Any, new: Any, expected: Any) -> None:
    result = merged(current, new)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("current", "new"),
    [
        (1, 2.5),
        (1, True),
        (1, "one"),
        (True, 1),
        ("text", 3),
        ("text", ["text"]),
        ((1,), 3),
        ((1,), "words"),
        ({"B": 1}, 3),
        ({"B": 1}, [1]),
        (1, {"B": 1}),
    ],
)
def test_a_value_of_another_type_is_refused_with_both(current: Any, new: Any) -> None:
    with pytest.raises(ConfigTypeError, match="KEY must be") as caught:
        merged(current, new)
    assert repr(new) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_errors_name_the_place_of_the_key() -> None:
    cfg = CfgNode({"A": {"NUMBER": 1}})
    with pytest.raises(ConfigKeyError, match=r"^<A\.NUMBRE>: .*Did you mean A\.NUMBER"):
        list(plan_merge(cfg, {"A": {"NUMBRE": 1}}, where))
    with pytest.raises(ConfigTypeError, match=r"^<A\.NUMBER>: A\.NUMBER must be of type int"):
        list(plan_merge(cfg, {"A": {"NUMBER": "x"}}, where))


def test_a_key_in_the_wrong_section_is_found_where_it_is() -> None:
    with pytest.raises(ConfigKeyError, match=r"Did you mean SOLVER\.BASE_LR\?"):
        get_cfg().merge_from_list(["BASE_LR", 0.1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("solver.base_lr", r"no key solver\.base_lr\. Did you mean SOLVER\.BASE_LR\?$"),
        ("Solver.Base_LR", r"no key Solver\.Base_LR\. Did you mean SOLVER\.BASE_LR\?$"),
        ("SOLVR.MAX_ITER", r"no key SOLVR\.MAX_ITER\. Did you mean SOLVER\.MAX_ITER\?$"),
        ("MODEL.ROI_HEAD.NUM_CLASSES", r"Did you mean MODEL\.ROI_HEADS\.NUM_CLASSES or "),
        ("SOLVER.LR", r"Did you mean SOLVER\.BASE_LR or "),
        ("output_dir", r"no key output_dir\. Did you mean OUTPUT_DIR\?$"),
        ("FOO.BAR", r"no key FOO\.BAR\.$"),
    ],
)
def test_an_unknown_key_is_named_whole_with_the_closest_keys(wrong: str, message: str) -> None:
    with pytest.raises(KeyError, match=message):
        get_cfg().merge_from_list([wrong, 1])


def test_an_unknown_key_of_a_file_is_named_whole_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("VERSION: 2\nsolver:\n  base_lr: 0.1\n  max_iter: 3\n")
    message = (
        r"a\.yaml, line 3: the config has no key solver\.base_lr\. Did you mean SOLVER\.BASE_LR"
    )
    with pytest.raises(KeyError, match=message):
        get_cfg().merge_from_file(path)


@pytest.mark.parametrize("section", [{}, {"INNER": {}}])
def test_an_unknown_section_is_refused_though_it_is_empty(section: dict) -> None:
    with pytest.raises(ConfigKeyError, match="no key NEW"):
        CfgNode({"A": 1}).merge_from_other_cfg({"NEW": section})


def test_a_key_of_an_older_version_in_a_section_of_its_own_is_told_its_name() -> None:
    with pytest.raises(ConfigKeyError, match=r"it is called MODEL\.RPN\.HEAD_NAME"):
        get_cfg().merge_from_list(["MODEL.RPN_HEAD.NAME", "StandardRPNHead"])


def test_deprecated_and_renamed_keys_of_a_section_that_went_away_are_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cfg = CfgNode({"A": {"B": 1}})
    cfg.register_deprecated_key("GONE.X")
    cfg.register_renamed_key("GONE.Y", "A.B")
    cfg.merge_from_list(["GONE.X", 1])
    assert "the key GONE.X is deprecated and ignored" in caplog.text
    with pytest.raises(KeyError, match=r"GONE\.Y was renamed to A\.B"):
        cfg.merge_from_list(["GONE.Y", 1])


@pytest.mark.parametrize(
    ("current", "typed", "expected"),
    [
        ("text", "None", None),
        ("text", "'None'", "None"),
        ("text", "'a b'", "a b"),
        ("text", "null", "null"),
        ("text", "~", "~"),
        ("text", "1e-4", "1e-4"),
        ("text", "(1, 2)", "(1, 2)"),
        ("text", "it's", "it's"),
        (1, "None", None),
        (1, "null", None),
        (1.0, "~", None),
        ((1,), "null", None),
        (None, "null", None),
        (None, "'None'", "None"),
        (1.0, "1e-4", 1e-4),
        (1.0, "5e3", 5e3),
        (1.0, "-2E-3", -2e-3),
        (1.0, "1", 1.0),
        ((1.0,), "(1e-4, 2)", (1e-4, 2)),
        ((1,), "[1, 2]", (1, 2)),
        ([1], "(1, 2)", [1, 2]),
        (True, "False", False),
    ],
)
def test_a_typed_text_is_read_as_the_literal_that_it_is(
    current: Any, typed: str, expected: Any
) -> None:
    cfg = CfgNode({"KEY": current})
    cfg.merge_from_list(["KEY", typed])
    result = cfg.KEY
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("text", ["None", "'quoted'", "null", "1e-4"])
def test_a_text_from_a_config_or_a_dump_stays_as_it_is(text: str, tmp_path: Path) -> None:
    assert merged("text", text) == text
    (tmp_path / "a.yaml").write_text(CfgNode({"KEY": text}).dump())
    cfg = CfgNode({"KEY": "text"})
    cfg.merge_from_file(tmp_path / "a.yaml")
    assert cfg == {"KEY": text}


def test_numbers_of_a_file_need_no_dot(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "RATE: 1e-4\nQUOTED: '2E-3'\nSTEPS: [1e3, 2e3]\nFREE: 5e3\nNAME: None\n"
    )
    cfg = CfgNode({"RATE": 1.0, "QUOTED": 1.0, "STEPS": (), "FREE": None, "NAME": "x"})
    cfg.merge_from_file(tmp_path / "a.yaml")
    assert cfg == {
        "RATE": 1e-4,
        "QUOTED": 2e-3,
        "STEPS": (1e3, 2e3),
        "FREE": 5e3,
        "NAME": None,
    }


def test_a_number_for_a_text_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("NAME: 1e-4\n")
    with pytest.raises(ConfigTypeError, match="line 1: NAME must be of type str.*quote it"):
        CfgNode({"NAME": "x"}).merge_from_file(tmp_path / "a.yaml")


def test_a_key_of_an_older_version_is_told_its_name_of_today() -> None:
    with pytest.raises(ConfigKeyError, match=r"it is called MODEL\.WEIGHTS"):
        get_cfg().merge_from_list(["MODEL.WEIGHT", "w.pth"])


def test_keys_are_texts() -> None:
    with pytest.raises(ConfigTypeError, match="config keys are strings, got 3"):
        CfgNode({"A": 1}).merge_from_other_cfg({3: 1})


def test_a_merged_container_is_not_shared_with_its_source() -> None:
    source = {"A": [[1]]}
    cfg = CfgNode({"A": []})
    cfg.merge_from_other_cfg(source)
    cfg.A[0].append(2)
    assert source == {"A": [[1]]}


def test_deprecated_keys_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    cfg = CfgNode({"A": {"B": 1}})
    cfg.register_deprecated_key("A.OLD")
    with caplog.at_level(logging.WARNING):
        assert list(plan_merge(cfg, {"A": {"OLD": 3}}, where)) == []
    assert "<A.OLD>: the key A.OLD is deprecated and ignored" in caplog.text


def test_new_keys_are_decoded_where_they_are_allowed() -> None:
    cfg = CfgNode({"A": CfgNode(new_allowed=True)})
    cfg.merge_from_list(["A.NEW", "(1, 2)"])
    assert cfg.A.NEW == (1, 2)
    cfg.merge_from_other_cfg({"A": {"SECTION": {"X": "3"}}})
    assert cfg.A.SECTION.X == 3


def test_texts_are_literals_never_code(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    assert merged(None, code) == code
    assert not trace.exists()


@pytest.mark.parametrize("pairs", [["A"], "A 1", ["A", 1, "B"]])
def test_a_list_without_pairs_is_refused(pairs: Any) -> None:
    with pytest.raises(ValueError, match="alternating keys and values"):
        CfgNode({"A": 0, "B": 0}).merge_from_list(pairs)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text("abc", max_size=3)
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.tuples(scalars))
names = st.sampled_from("ABCD")
trees = st.recursive(
    st.dictionaries(names, values, max_size=4),
    lambda inner: st.dictionaries(names, st.one_of(values, inner), max_size=4),
    max_leaves=12,
)


def leaves(node: dict, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            found.update(leaves(value, f"{path}{key}."))
        else:
            found[path + key] = value
    return found


@settings(max_examples=150, deadline=None)
@given(tree=trees, other=trees)
def test_a_merge_is_done_whole_or_not_at_all(tree: dict, other: dict) -> None:
    cfg = CfgNode(tree)
    before = cfg.clone()
    try:
        cfg.merge_from_other_cfg(other)
    except (KeyError, TypeError):
        assert cfg == before
        return
    theirs, result = leaves(other), leaves(cfg)
    for path, value in leaves(before).items():
        if value is None:  # may become anything, also a section
            continue
        if path not in theirs:
            assert result[path] == value
        elif result[path] is not None:
            assert type(result[path]) is type(value)


@settings(max_examples=60, deadline=None)
@given(tree=trees, data=st.data())
def test_a_list_of_overrides_equals_assignments(tree: dict, data: st.DataObject) -> None:
    paths = sorted(leaves(tree))
    if not paths:
        return
    path = data.draw(st.sampled_from(paths))
    cfg = CfgNode(tree)
    cfg.merge_from_list([path, leaves(tree)[path]])
    assert cfg == CfgNode(tree)
    cfg.merge_from_list([path, None])
    node: Any = cfg
    for part in path.split("."):
        node = node[part]
    assert node is None
