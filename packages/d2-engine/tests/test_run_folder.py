"""What a run leaves behind."""

import pytest

from d2_data import Metadata
from d2_engine.run.folder import (
    last_checkpoint,
    load_metadata,
    refuse_used_folder,
    save_metadata,
)


def test_the_last_checkpoint_is_found_where_the_folder_is(tmp_path, caplog):
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth\n")
    (tmp_path / "model_0000001.pth").write_bytes(b"")
    (tmp_path / "model_0000003.pth").write_bytes(b"")
    assert last_checkpoint(tmp_path) == tmp_path / "model_0000003.pth"
    assert caplog.text == ""


def test_for_a_last_checkpoint_that_is_missing_another_is_taken_and_named(tmp_path, caplog):
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth\n")
    assert last_checkpoint(tmp_path) == tmp_path / "model_0000003.pth"
    (tmp_path / "model_0000001.pth").write_bytes(b"")
    assert last_checkpoint(tmp_path) == tmp_path / "model_0000001.pth"
    assert "is missing: taking model_0000001.pth" in caplog.text


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"thing_dataset_id_to_contiguous_id": 3}', "[" * 9999]
)
def test_damaged_metadata_is_named_with_the_remedy(tmp_path, content):
    (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(ValueError, match=r"metadata\.json is damaged .*or remove it"):
        load_metadata(tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not the folder of a training run"):
        last_checkpoint(tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        last_checkpoint(tmp_path / "nowhere")


def test_a_run_without_checkpoint_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        last_checkpoint(tmp_path)


def test_classes_come_back_with_integer_ids(tmp_path):
    metadata = Metadata(name="pets").set(
        thing_classes=["cat", "dog"],
        thing_colors=[[1, 2, 3], [4, 5, 6]],
        thing_dataset_id_to_contiguous_id={17: 0, 18: 1},
        stuff_classes=["grass"],
        stuff_dataset_id_to_contiguous_id={92: 0},
        json_file="not kept",
    )
    save_metadata(tmp_path, metadata)
    read = load_metadata(tmp_path)
    assert read.thing_classes == ["cat", "dog"]
    assert read.thing_colors == [[1, 2, 3], [4, 5, 6]]
    assert read.thing_dataset_id_to_contiguous_id == {17: 0, 18: 1}
    assert read.stuff_classes == ["grass"]
    assert read.stuff_dataset_id_to_contiguous_id == {92: 0}
    assert read.get("json_file") is None


def test_a_run_without_metadata_has_empty_metadata(tmp_path):
    assert load_metadata(tmp_path).get("thing_classes") is None


def test_missing_metadata_is_named_with_its_run(tmp_path):
    with pytest.raises(AttributeError, match=str(tmp_path)):
        _ = load_metadata(tmp_path).thing_classes


@pytest.mark.parametrize("name", ["last_checkpoint", "metrics.json"])
def test_a_folder_that_a_run_wrote_to_is_refused(tmp_path, name):
    refuse_used_folder(tmp_path / "new")
    refuse_used_folder(tmp_path)
    (tmp_path / name).write_text("")
    with pytest.raises(FileExistsError, match="continue it with --resume"):
        refuse_used_folder(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file: choose another --output"):
        refuse_used_folder(tmp_path / "file")
