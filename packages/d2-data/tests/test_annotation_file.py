import gc
import json
import os

import pytest

from d2_data.annotation_file import paused_collector, read_json


def test_collector_of_cycles_runs_again_after_a_file_was_read_or_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([1]))
    assert gc.isenabled()
    assert read_json(path) == [1]
    assert gc.isenabled()
    path.write_text("[")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_json(path)
    assert gc.isenabled()


def test_collector_that_was_stopped_before_stays_stopped():
    with paused_collector():
        with paused_collector():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_keys_that_are_missing_are_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"a\.json' lacks \['b'\]; it has \['a'\]"):
        read_json(path, expected_keys=("a", "b"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "not valid JSON"),
        ("\xff", "not valid JSON"),
    ],
)
def test_files_that_python_stumbles_over_are_named(tmp_path, content, said):
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin1"))
    with pytest.raises(ValueError, match=rf"a\.json' .*{said}"):
        read_json(path)


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FileNotFoundError, match=r"pipe\.json' is not an ordinary file"):
        read_json(tmp_path / "pipe.json")
