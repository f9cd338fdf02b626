import pickle

import numpy as np
import pytest

from d2_data import load_proposals_into_dataset
from d2_structures import BoxMode


class Malicious:
    def __reduce__(self):
        return print, ("executed",)


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def content(**changes):
    return {
        "ids": [7, 3],
        "boxes": [np.ones((1, 4)), np.arange(8.0, dtype=np.float32).reshape(2, 4)],
        "objectness_logits": [np.ones(1), np.array([0.5, 2.0])],
        "bbox_mode": BoxMode.XYWH_ABS,
        **changes,
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_proposals_are_matched_by_image_and_sorted(tmp_path, protocol):
    (record,) = load_proposals_into_dataset(
        [{"image_id": 3}], write(tmp_path / "p.pkl", content(), protocol)
    )
    assert record["proposal_objectness_logits"].tolist() == [2.0, 0.5]
    assert record["proposal_boxes"].tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert record["proposal_bbox_mode"] == BoxMode.XYWH_ABS


def test_older_key_names_are_read(tmp_path):
    old = content()
    old["indexes"], old["scores"] = old.pop("ids"), old.pop("objectness_logits")
    del old["bbox_mode"]
    (record,) = load_proposals_into_dataset([{"image_id": 7}], write(tmp_path / "p.pkl", old))
    assert record["proposal_bbox_mode"] == BoxMode.XYXY_ABS


def test_file_that_would_execute_code_is_refused(tmp_path, capsys):
    path = write(tmp_path / "p.pkl", content(extra=Malicious()))
    with pytest.raises(ValueError, match=r"p\.pkl' is refused: .*refers to \S*\.print"):
        load_proposals_into_dataset([], path)
    assert "executed" not in capsys.readouterr().out


def test_unsuitable_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pkl"):
        load_proposals_into_dataset([], tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="must hold a dict, got list"):
        load_proposals_into_dataset([], write(tmp_path / "list.pkl", [1]))
    with pytest.raises(ValueError, match=r"must have 'ids'.*it has \['boxes'\]"):
        load_proposals_into_dataset([], write(tmp_path / "less.pkl", {"boxes": []}))
    with pytest.raises(ValueError, match="no proposals for image_id 9"):
        load_proposals_into_dataset([{"image_id": 9}], write(tmp_path / "p.pkl", content()))
    (tmp_path / "empty.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.pkl' is refused"):
        load_proposals_into_dataset([], tmp_path / "empty.pkl")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": [7]}, "their lengths are 1, 2 and 2"),
        ({"boxes": 3}, "their lengths are 2, no list and 2"),
        ({"boxes": [np.ones((1, 4)), np.ones((2, 5))]}, r"image_id 3 as 'boxes' .*shape \(2, 5\)"),
        ({"boxes": [np.ones((1, 4)), [[1, 2, 3, 4]]]}, "image_id 3 as 'boxes' list; wanted an"),
        ({"boxes": [None, np.full((2, 4), np.nan)]}, "wanted an .* array of finite numbers"),
        ({"objectness_logits": [1, np.ones(3)]}, r"shape \(3,\); wanted a \(2,\) array"),
        ({"objectness_logits": [1, np.array(["a", "b"])]}, "an array of <U1"),
        ({"bbox_mode": 17}, r" 17; known are 0 \(XYXY_ABS\), 1 \(XYWH_ABS\)"),
        ({"bbox_mode": BoxMode.XYXY_REL}, "the 'bbox_mode' 2"),
        ({"bbox_mode": "XYXY_ABS"}, "the 'bbox_mode' 'XYXY_ABS'"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path, changes, said):
    path = write(tmp_path / "p.pkl", content(**changes))
    with pytest.raises(ValueError, match=rf"p\.pkl' .*{said}"):
        load_proposals_into_dataset([{"image_id": 3}], path)


def test_arrays_of_python_objects_are_refused(tmp_path):
    boxes = np.empty(2, dtype=object)
    boxes[:] = [np.ones((1, 4)), np.ones((2, 4))]
    with pytest.raises(ValueError, match=r"p\.pkl' .*an array of Python objects"):
        load_proposals_into_dataset([], write(tmp_path / "p.pkl", content(boxes=boxes)))


def test_an_image_without_proposals_gets_none(tmp_path):
    empty = content(boxes=[np.zeros(0), None], objectness_logits=[np.zeros(0), None])
    (record,) = load_proposals_into_dataset([{"image_id": 7}], write(tmp_path / "p.pkl", empty))
    assert record["proposal_boxes"].shape == (0, 4)


def lists_in_lists(depth):
    """A value whose text has 2 ** depth parts."""
    value = [1]
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.parametrize("wrong", [1.5, None, True, [1], lists_in_lists(60), 10**50])
def test_ids_that_are_no_numbers_or_text_are_refused_at_once(tmp_path, wrong):
    path = write(tmp_path / "p.pkl", content(ids=[7, wrong]))
    with pytest.raises(ValueError, match=r"p\.pkl' has .* among its 'ids', wanted whole numbers"):
        load_proposals_into_dataset([], path)


@pytest.mark.parametrize("wrong", [lists_in_lists(60), 7, "x" * 10**6, 10**3000])
def test_a_mode_that_is_not_known_is_refused_at_once(tmp_path, wrong):
    path = write(tmp_path / "p.pkl", content(bbox_mode=wrong))
    with pytest.raises(
        ValueError, match=r"p\.pkl' has the 'bbox_mode' .{1,60}; known are 0"
    ) as caught:
        load_proposals_into_dataset([], path)
    assert len(str(caught.value)) < 1000


def test_keys_of_any_kind_are_shown_briefly(tmp_path):
    path = write(tmp_path / "p.pkl", {"x" * 10**5: 1, 10**3000: 2, (1, 2): 3})
    with pytest.raises(
        ValueError, match=r"must have 'ids'.*it has \['x+', a value of type"
    ) as caught:
        load_proposals_into_dataset([], path)
    assert len(str(caught.value)) < 1000
