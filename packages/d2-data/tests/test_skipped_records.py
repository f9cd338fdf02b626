import gc
import multiprocessing
import pickle

import pytest

from d2_data.skipped_records import SkippedRecord, SkippedRecords, checked_on_error


def record(name):
    return {"file_name": name, "image_id": 3}


def test_records_are_listed_with_their_errors():
    skipped = SkippedRecords()
    skipped.add(record("a.jpg"), ValueError("too large"))
    skipped.add(record("ä.jpg"), KeyError("bbox"))
    assert len(skipped) == 2
    assert list(skipped) == [
        SkippedRecord("image 'a.jpg' (image_id 3)", "ValueError: too large"),
        SkippedRecord("image 'ä.jpg' (image_id 3)", "KeyError: bbox"),
    ]


def test_many_are_logged_ever_more_seldom(caplog):
    skipped = SkippedRecords()
    for index in range(100):
        skipped.add(record(f"{index}.jpg"), ValueError("bad"))
    assert len(caplog.records) == 10 + 3  # and 16, 32, 64
    assert "Skipped image '0.jpg' (image_id 3): ValueError: bad (1 so far)" in caplog.text
    assert "(64 so far)" in caplog.text
    assert len(skipped) == 100


def _add(skipped, name):
    skipped.add(record(name), ValueError("bad"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_other_processes_skip_is_listed_here(method):
    skipped = SkippedRecords()
    context = multiprocessing.get_context(method)
    if method == "fork":
        process = context.Process(target=_add, args=(skipped, "a.jpg"))
        process.start()
        process.join()
        assert process.exitcode == 0
    else:  # what a started process gets is pickled
        _add(pickle.loads(pickle.dumps(skipped)), "a.jpg")
    assert [entry.record for entry in skipped] == ["image 'a.jpg' (image_id 3)"]


def test_file_goes_with_the_list():
    skipped = SkippedRecords()
    path = skipped._path
    copied = pickle.loads(pickle.dumps(skipped))
    del copied
    gc.collect()
    assert path.exists()
    del skipped
    gc.collect()
    assert not path.exists()


def test_list_whose_file_is_gone_is_empty():
    skipped = SkippedRecords()
    skipped._path.unlink()
    assert list(skipped) == []
    assert len(skipped) == 0


def test_other_words_are_refused():
    assert checked_on_error("skip", "X") == "skip"
    with pytest.raises(ValueError, match="X: on_error is 'raise' or 'skip', got 'ignore'"):
        checked_on_error("ignore", "X")
