"""``d2 migrate`` shows what it would change, changes it when told to, and says what is left."""

import stat

import pytest

pytest.importorskip("libcst")

from d2_engine.cli import main

BEFORE = "from detectron2.config import get_cfg\n"
AFTER = "from d2_config import get_cfg\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(BEFORE)
    (tmp_path / "other.py").write_text("import torch\n")
    return tmp_path


def test_without_write_it_shows_a_diff_and_changes_nothing(project, capsys):
    assert main(["migrate", "."]) == 1
    out, err = capsys.readouterr()
    assert out == f"--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-{BEFORE}+{AFTER}"
    assert "1 files would change, 0 places for a human" in err
    assert (project / "train.py").read_text() == BEFORE


def test_with_write_it_changes_and_a_second_time_nothing_is_left(project, capsys):
    (project / "train.py").chmod(0o755)
    assert main(["migrate", ".", "--write"]) == 0
    assert (project / "train.py").read_text() == AFTER
    assert stat.S_IMODE((project / "train.py").stat().st_mode) == 0o755
    capsys.readouterr()
    assert main(["migrate", "train.py", "other.py"]) == 0
    assert capsys.readouterr().out == ""


def test_what_is_left_to_a_human_is_listed_and_makes_the_exit_code_1(project, capsys):
    (project / "train.py").write_text(BEFORE + "from detectron2.engine import nothing\n")
    assert main(["migrate", ".", "--write", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("train.py:2: detectron2.engine.nothing: d2 does not provide")
    assert "1 files changed, 1 places for a human" in err


def test_the_diff_of_a_file_without_a_last_line_end_is_a_patch(project, capsys):
    (project / "train.py").write_text(BEFORE.rstrip())
    main(["migrate", "train.py"])
    assert capsys.readouterr().out.count("\\ No newline at end of file") == 2


def test_a_path_that_is_not_there_and_another_kind_of_file_are_named(project, capsys):
    assert main(["migrate", "nowhere"]) == 1
    assert "there is no nowhere" in capsys.readouterr().err
    (project / "notes.txt").write_text("detectron2")
    assert main(["migrate", "notes.txt"]) == 1
    assert "neither Python, YAML" in capsys.readouterr().err


@pytest.fixture
def without_libcst(monkeypatch):
    import sys

    for name in [n for n in sys.modules if n.startswith("d2_engine.migrate.py")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "d2_engine.migrate.survey", raising=False)
    monkeypatch.delitem(sys.modules, "d2_engine.migrate.new_imports", raising=False)
    for name in [n for n in sys.modules if n.partition(".")[0] == "libcst"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without("libcst"), *sys.meta_path])


@pytest.mark.usefixtures("without_libcst")
def test_without_libcst_the_extra_is_named(project, capsys):
    assert main(["migrate", "."]) == 1
    assert "pip install 'd2-engine[migrate]'" in capsys.readouterr().err


@pytest.mark.usefixtures("without_libcst")
def test_yaml_is_rewritten_without_libcst(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("model: {_target_: detectron2.modeling.FPN}\n")
    assert main(["migrate", "--write", str(config)]) == 0
    assert config.read_text() == "model: {_target_: d2_modeling.FPN}\n"


class _Without:
    """Finds no package of one name."""

    def __init__(self, name):
        self._name = name

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self._name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
