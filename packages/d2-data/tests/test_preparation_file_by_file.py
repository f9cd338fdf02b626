import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2_data.preparation import Prepared
from d2_data.preparation.file_by_file import make_files, png_of, results_of


@pytest.mark.parametrize("num_workers", [1, 4, None])
def test_results_are_in_the_order_of_their_sources(num_workers):
    results = results_of(lambda n: n * n, range(20), description="squares", num_workers=num_workers)
    assert results == [n * n for n in range(20)]


def test_several_threads_work_at_once():
    barrier = threading.Barrier(3, timeout=30)
    # Each waits for the two others: one after the other they would wait for ever.
    assert len(results_of(lambda _: barrier.wait(), "abc", description="", num_workers=3)) == 3


def test_what_has_not_begun_when_one_fails_is_left_undone():
    begun = []
    over = threading.Event()

    def fail_first(number):
        begun.append(number)
        if number == 0:
            raise ValueError("number 0")
        assert over.wait(timeout=30)

    def progress(results, total, description):
        try:
            yield from results
        finally:
            over.set()

    with pytest.raises(ValueError, match="number 0"):
        results_of(fail_first, range(100), description="", num_workers=1, progress=progress)
    assert begun in ([0], [0, 1])  # the second may have begun before the first was looked at


def test_progress_sees_each_result():
    seen = []

    def progress(results, total, description):
        assert (total, description) == (3, "letters")
        for result in results:
            seen.append(result)
            yield result

    assert results_of(str.upper, "abc", description="letters", progress=progress) == seen
    assert seen == ["A", "B", "C"]


def test_files_are_made_of_their_sources(tmp_path):
    prepared = make_files(
        ["a", "b"], lambda name: tmp_path / "new" / name, str.encode, description=""
    )
    assert prepared == Prepared(written=2, kept=0)
    assert (tmp_path / "new" / "b").read_bytes() == b"b"


def test_files_made_before_a_failure_stay_and_the_next_run_makes_the_rest(tmp_path):
    broken = {"c"}

    def make(name):
        if name in broken:
            raise OSError(f"{name} is damaged")
        return name.encode()

    def run():
        return make_files("abcd", lambda name: tmp_path / name, make, description="", num_workers=1)

    with pytest.raises(OSError, match="c is damaged"):
        run()
    assert {"a", "b"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "c").exists()
    broken.clear()
    prepared = run()
    assert prepared.written + prepared.kept == 4
    assert prepared.kept >= 2
    assert {path.name for path in tmp_path.iterdir()} == set("abcd")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=5))
def test_sums_are_by_field(pairs):
    total = Prepared(0, 0)
    for pair in pairs:
        total += Prepared(*pair)
    assert total.written == sum(written for written, _ in pairs)
    assert total.kept == sum(kept for _, kept in pairs)


def test_a_png_holds_its_labels(tmp_path):
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    (tmp_path / "labels.png").write_bytes(png_of(labels))
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), labels)
