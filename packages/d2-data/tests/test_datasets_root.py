import pytest

from d2_data.datasets_root import datasets_root


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("D2_DATASETS", raising=False)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)


def test_the_root_follows_the_environment(monkeypatch):
    assert str(datasets_root().folder) == "datasets"
    monkeypatch.setenv("DETECTRON2_DATASETS", "old")
    assert str(datasets_root().folder) == "old"
    monkeypatch.setenv("D2_DATASETS", "new")
    assert str(datasets_root().folder) == "new"


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("D2_DATASETS", "")
    assert datasets_root().variable is None


def test_the_home_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("D2_DATASETS", "~/data")
    assert str(datasets_root().folder) == "/somewhere/data"


def test_the_variable_that_was_read_is_named(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "old")
    assert str(datasets_root()) == "'old', which $DETECTRON2_DATASETS names"


def test_without_a_variable_the_current_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = str(datasets_root())
    assert said.startswith(f"'datasets' in the current folder {str(tmp_path)!r}")
    assert "neither $D2_DATASETS nor $DETECTRON2_DATASETS is set" in said
