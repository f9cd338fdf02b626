"""How the pictures of a batch are divided, and what is needed for it."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_engine.batch import predict, read_predictions
from d2_engine.batch.parts import find_parts, fingerprint, listed_paths


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_without_ray_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"needs ray, .*pip install 'd2-engine\[ray\]'"):
        predict([str(tmp_path)], tmp_path / "out", lambda: None)  # type: ignore[arg-type, return-value]


def test_pictures_of_folders_are_divided_in_order_each_once(tmp_path):
    names = ["b/2.jpg", "b/1.PNG", "a/3.webp", "c.bmp"]
    touch(*(tmp_path / name for name in names), tmp_path / "notes.txt")
    parts = find_parts([str(tmp_path), str(tmp_path / "c.bmp")], 3)
    files = [file.removeprefix(f"{tmp_path}/") for part in parts for file in part.files]
    assert files == ["c.bmp", "a/3.webp", "b/1.PNG", "b/2.jpg"]
    assert [len(part.files) for part in parts] == [3, 1]
    assert [part.number for part in parts] == [0, 1]
    assert fingerprint(parts) == fingerprint(find_parts([str(tmp_path)], 3))
    assert fingerprint(parts) != fingerprint(find_parts([str(tmp_path)], 2))


def test_every_shard_is_a_part(tmp_path):
    touch(tmp_path / "1.tar", tmp_path / "0.tar")
    parts = find_parts([str(tmp_path / "*.tar")], 5)
    assert [Path(part.source).name for part in parts] == ["0.tar", "1.tar"]
    assert {part.kind for part in parts} == {"shard"}


def test_words_that_mean_nothing_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match="empty has no pictures"):
        find_parts([str(tmp_path / "empty")], 5)
    with pytest.raises(FileNotFoundError, match="there are no pictures, Parquet files or shards"):
        find_parts([str(tmp_path / "gone*.tar")], 5)
    with pytest.raises(ValueError, match=r"notes\.txt is no picture"):
        find_parts([str(tmp_path / "notes.txt")], 5)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        find_parts([str(tmp_path)], 0)
    with pytest.raises(FileNotFoundError, match=r"has no part-\*\.parquet"):
        next(read_predictions(tmp_path))


@settings(deadline=None)  # pyarrow is imported in the first example
@given(
    rows=st.integers(0, 40),
    group=st.integers(1, 12),
    at_most=st.integers(1, 50),
)
def test_rows_of_a_list_are_divided_without_loss(rows, group, at_most, tmp_path_factory):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra d2-engine[ray])")
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("list")
    path = folder / "list.parquet"
    names = [f"{number}.jpg" for number in range(rows)]
    table = pa.table({"file_name": pa.array(names, pa.string()), "x": range(rows)})
    pq.write_table(table, path, row_group_size=group)
    parts = find_parts([str(path)], at_most)
    assert [name for part in parts for name in listed_paths(part)] == [
        str(folder / name) for name in names
    ]
    assert all(0 < part.stop - part.start <= at_most for part in parts)


def test_the_column_of_a_list_may_be_chosen(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra d2-engine[ray])")
    import pyarrow.parquet as pq

    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"where": ["/data/1.jpg"], "n": [1]}), path)
    with pytest.raises(ValueError, match="has no column one of path, file_name.*it has where, n"):
        find_parts([str(path)], 5)
    with pytest.raises(ValueError, match="has no column 'elsewhere'"):
        find_parts([str(path)], 5, column="elsewhere")
    (part,) = find_parts([str(path)], 5, column="where")
    assert list(listed_paths(part)) == ["/data/1.jpg"]
