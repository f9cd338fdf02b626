"""Yacs-style configs as text, and out of text."""

from pathlib import Path

import pytest
import yaml

from d2_config import CfgNode, ConfigFileError, ConfigTypeError
from d2_config.cfg_text import dump_yaml, is_yacs_file, outline, read_cfg


def test_text_and_open_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("A: {B: 1}\n")
    (tmp_path / "a.py").write_text("cfg = dict(A=dict(B=1))\n")
    assert read_cfg("A: {B: 1}") == ({"A": {"B": 1}}, "YAML text")
    for name, mode in (("a.yaml", "r"), ("a.yaml", "rb"), ("a.py", "r")):
        with (tmp_path / name).open(mode) as file:
            assert read_cfg(file) == ({"A": {"B": 1}}, str(tmp_path / name))


def test_a_python_file_must_define_cfg(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("config = {}\n")
    with (tmp_path / "a.py").open() as file, pytest.raises(ConfigFileError, match="define 'cfg'"):
        read_cfg(file)


def test_what_is_neither_text_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected YAML text or an open file"):
        read_cfg(tmp_path)
    with pytest.raises(ConfigFileError, match="YAML text must hold keys and values"):
        CfgNode.load_cfg("- 1")


def test_a_dump_has_plain_values_and_no_aliases() -> None:
    shared = [1, 2]
    text = dump_yaml(CfgNode({"A": shared, "B": {"C": shared, "D": (1.5, None, True, "x")}}))
    assert "&" not in text
    assert yaml.safe_load(text) == {"A": [1, 2], "B": {"C": [1, 2], "D": [1.5, None, True, "x"]}}


@pytest.mark.parametrize("text", ["1e-4", "5E3", "None", "null", "yes", "a\x85b"])
def test_a_dumped_text_is_read_as_text(text: str) -> None:
    assert read_cfg(dump_yaml(CfgNode({"A": [text]})))[0] == {"A": [text]}


def test_a_value_that_is_not_yaml_is_named() -> None:
    cfg = CfgNode({"A": {"B": [1, {"x"}]}})
    with pytest.raises(ConfigTypeError, match=r"A\.B\[1\] holds \{'x'\} \(set\)"):
        dump_yaml(cfg)


def test_an_outline_is_sorted_and_indented() -> None:
    cfg = CfgNode({"B": {"D": {}, "C": 1}, "A": "x"})
    assert outline(cfg) == str(cfg) == "A: x\nB:\n  C: 1\n  D:"


@pytest.mark.parametrize(
    ("name", "text", "is_yacs"),
    [
        ("a.yaml", "_BASE_: b.yaml\nMODEL: {MASK_ON: true}\n", True),
        ("a.yml", "SEED: 1\n", True),
        ("a.yaml", "model: {_target_: x}\n", False),
        ("a.yaml", "SEED: 1\ntrain: {}\n", False),
        ("a.yaml", "", False),
        ("a.yaml", "- SEED\n", False),
        ("a.py", "SEED = 1\n", False),
    ],
)
def test_a_yacs_file_has_upper_case_keys(
    tmp_path: Path, name: str, text: str, is_yacs: bool
) -> None:
    (tmp_path / name).write_text(text)
    assert is_yacs_file(tmp_path / name) == is_yacs
