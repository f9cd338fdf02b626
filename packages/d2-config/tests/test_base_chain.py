"""YAML files that build on others through ``_BASE_``."""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_config import ConfigFileError, base_chain
from d2_config.base_chain import load_with_base


def write(folder: Path, **files: str) -> Path:
    """Write YAML files named by their stems; return the folder."""
    for stem, text in files.items():
        (folder / f"{stem}.yaml").write_text(text)
    return folder


def load(path: Path) -> dict:
    return load_with_base(path).data


def test_a_file_without_a_base_is_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, a="A: {B: 1}\n")
    assert load(tmp_path / "a.yaml") == {"A": {"B": 1}}


def test_an_empty_file_is_an_empty_config(tmp_path: Path) -> None:
    write(tmp_path, a="# nothing yet\n")
    assert load(tmp_path / "a.yaml") == {}


def test_the_file_wins_over_its_base_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, base="A: {B: 1, C: [1, 2]}\nD: 3\n", leaf="_BASE_: base.yaml\nA: {C: [9]}\n")
    assert load(tmp_path / "leaf.yaml") == {"A": {"B": 1, "C": [9]}, "D": 3}


def test_of_several_bases_later_ones_win(tmp_path: Path) -> None:
    write(tmp_path, a="A: 1\nB: 1\nC: 1\n", b="B: 2\nC: 2\n", c="_BASE_: [a.yaml, b.yaml]\nC: 3\n")
    assert load(tmp_path / "c.yaml") == {"A": 1, "B": 2, "C": 3}


def test_a_chain_is_followed_to_its_end_from_each_files_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, root="A: 1\nB: 1\n", middle="_BASE_: root.yaml\nB: 2\n")
    write(tmp_path / "sub", leaf="_BASE_: ../middle.yaml\nC: 3\n")
    assert load(tmp_path / "sub" / "leaf.yaml") == {"A": 1, "B": 2, "C": 3}


def test_an_absolute_path_and_the_home_folder_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, base="A: 1\n", absolute=f"_BASE_: {tmp_path}/base.yaml\n")
    write(tmp_path, home="_BASE_: ~/base.yaml\n")
    assert load(tmp_path / "absolute.yaml") == load(tmp_path / "home.yaml") == {"A": 1}


def test_one_base_may_be_reached_in_two_ways(tmp_path: Path) -> None:
    write(tmp_path, root="A: 1\n", left="_BASE_: root.yaml\nL: 1\n", right="_BASE_: root.yaml\n")
    write(tmp_path, leaf="_BASE_: [left.yaml, right.yaml]\n")
    assert load(tmp_path / "leaf.yaml") == {"A": 1, "L": 1}


def test_a_circle_is_shown(tmp_path: Path) -> None:
    write(tmp_path, a="_BASE_: b.yaml\n", b="_BASE_: a.yaml\n")
    with pytest.raises(ConfigFileError, match=r"in a circle: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        load(tmp_path / "a.yaml")


def test_a_base_that_is_missing_is_named_with_the_line_that_asks_for_it(tmp_path: Path) -> None:
    write(tmp_path, leaf="A: 1\n_BASE_: bsae.yaml\n", base="A: 1\n")
    with pytest.raises(FileNotFoundError, match=r"leaf\.yaml, line 2: _BASE_ names 'bsae\.yaml'"):
        load(tmp_path / "leaf.yaml")


@pytest.mark.parametrize("base", ["https://a.org/b.yaml", "detectron2://b.yaml"])
def test_bases_are_not_downloaded(tmp_path: Path, base: str) -> None:
    write(tmp_path, leaf=f"_BASE_: {base}\n")
    with pytest.raises(ConfigFileError, match="configs are not downloaded"):
        load(tmp_path / "leaf.yaml")


@pytest.mark.parametrize("base", ["3", "{a: b}", '""', "[base.yaml, 3]", "null"])
def test_what_names_no_file_is_refused(tmp_path: Path, base: str) -> None:
    write(tmp_path, leaf=f"_BASE_: {base}\n", base="A: 1\n")
    with pytest.raises(ConfigFileError, match="_BASE_ must be a file name, got"):
        load(tmp_path / "leaf.yaml")


@pytest.mark.parametrize("text", ["- 1\n", "just words\n", "3\n"])
def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, base=text, leaf="_BASE_: base.yaml\n")
    with pytest.raises(ConfigFileError, match=r"base\.yaml is no config: it must hold"):
        load(tmp_path / "leaf.yaml")


def test_a_section_does_not_replace_a_value(tmp_path: Path) -> None:
    write(tmp_path, base="A: 1\n", leaf="_BASE_: base.yaml\nA: {B: 2}\n")
    with pytest.raises(ConfigFileError, match=r"leaf\.yaml, line 2: A is a section here, but"):
        load(tmp_path / "leaf.yaml")


def test_places_are_those_of_the_file_that_a_value_is_from(tmp_path: Path) -> None:
    write(tmp_path, base="A: 1\nB: 1\n", leaf="_BASE_: base.yaml\nB: 2\n")
    document = load_with_base(tmp_path / "leaf.yaml")
    assert document.where("A") == f"{tmp_path}/base.yaml, line 1"
    assert document.where("B") == f"{tmp_path}/leaf.yaml, line 2"


def test_a_malicious_base_is_refused_although_the_file_is_harmless(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    write(
        tmp_path,
        base=f"A: !!python/object/apply:pathlib.Path.touch [{trace}]\n",
        leaf="_BASE_: base.yaml\n",
    )
    with pytest.raises(ConfigFileError, match=r"base\.yaml.*python/object/apply:pathlib"):
        load(tmp_path / "leaf.yaml")
    assert not trace.exists()


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The config folder of a package that is installed, but fails when it is imported."""
    folder = tmp_path / "site" / "heavy_package" / "zoo" / "configs"
    folder.mkdir(parents=True)
    (tmp_path / "site" / "heavy_package" / "__init__.py").write_text("raise ImportError\n")
    entry = importlib.metadata.EntryPoint(
        "zoo", "heavy_package.zoo.configs", base_chain.CONFIG_FOLDERS
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    base_chain._packaged_folders.cache_clear()
    yield folder
    base_chain._packaged_folders.cache_clear()


def test_bases_are_found_in_the_folders_of_installed_packages(
    packaged: Path, tmp_path: Path
) -> None:
    write(packaged, base="A: 1\n")
    write(tmp_path, leaf="_BASE_: base.yaml\n")
    assert load(tmp_path / "leaf.yaml") == {"A": 1}


def test_a_base_beside_the_file_is_preferred(packaged: Path, tmp_path: Path) -> None:
    write(packaged, base="A: packaged\n")
    write(tmp_path, base="A: beside\n", leaf="_BASE_: base.yaml\n")
    assert load(tmp_path / "leaf.yaml") == {"A": "beside"}


def test_a_missing_base_names_the_folders_that_were_searched(
    packaged: Path, tmp_path: Path
) -> None:
    write(tmp_path, leaf="_BASE_: nope.yaml\n")
    with pytest.raises(FileNotFoundError, match=rf"Looked in {packaged}, too"):
        load(tmp_path / "leaf.yaml")


def test_a_package_that_is_gone_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = importlib.metadata.EntryPoint("x", "gone_package.configs", base_chain.CONFIG_FOLDERS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    base_chain._packaged_folders.cache_clear()
    write(tmp_path, leaf="_BASE_: nope.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"names 'nope\.yaml'"):
        load(tmp_path / "leaf.yaml")
    base_chain._packaged_folders.cache_clear()


sections = st.dictionaries(st.sampled_from("ABC"), st.integers(0, 9), max_size=3)
configs = st.fixed_dictionaries({"S": sections, "T": sections})


@settings(max_examples=30, deadline=None)
@given(layers=st.lists(configs, min_size=1, max_size=4))
def test_a_chain_equals_updating_section_by_section(
    layers: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("chain")
    expected: dict[str, dict[str, int]] = {"S": {}, "T": {}}
    for index, layer in enumerate(layers):
        base = {"_BASE_": f"{index - 1}.yaml"} if index else {}
        (folder / f"{index}.yaml").write_text(yaml.safe_dump({**base, **layer}))
        for name, section in layer.items():
            expected[name].update(section)
    assert load(folder / f"{len(layers) - 1}.yaml") == expected


def test_a_base_that_is_no_config_is_named_and_its_content_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("the password\n")
    (tmp_path / "config.yaml").write_text("_BASE_: secrets\n")
    with pytest.raises(ConfigFileError, match="secrets is no config") as caught:
        load_with_base(tmp_path / "config.yaml")
    assert "password" not in str(caught.value)


def test_a_base_that_is_much_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "data").open("wb") as file:
        file.truncate(2**30)
    (tmp_path / "config.yaml").write_text("_BASE_: data\n")
    with pytest.raises(ConfigFileError, match="data is no config: it has 1,073,741,824 bytes"):
        load_with_base(tmp_path / "config.yaml")
