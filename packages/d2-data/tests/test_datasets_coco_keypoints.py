import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2_data.datasets.coco_keypoints import describe_keypoints

NAMES = ["nose", "left_eye", "right_eye", "tail"]


def category(names=NAMES, **more):
    return {"id": 1, "name": "cat", "keypoints": names, **more}


def describe(*categories, **known):
    return describe_keypoints(categories, known, "the file")


def test_names_pairs_and_bones_are_derived():
    described = describe(category(skeleton=[[1, 2], [3, 1], [4, 1], [2, 3]]))
    assert described["keypoint_names"] == NAMES
    assert described["keypoint_flip_map"] == [("left_eye", "right_eye")]
    bones = described["keypoint_connection_rules"]
    assert [bone[:2] for bone in bones] == [
        ("nose", "left_eye"),
        ("right_eye", "nose"),
        ("tail", "nose"),
        ("left_eye", "right_eye"),
    ]


def test_bones_are_coloured_by_side():
    bones = describe(category(skeleton=[[1, 2], [3, 1], [4, 1], [2, 3]]))
    left, right, middle, across = (rule[2] for rule in bones["keypoint_connection_rules"])
    assert len({left, right, middle}) == 3
    assert middle == across
    assert all(len(color) == 3 and all(0 <= c <= 255 for c in color) for color in (left, right))


@pytest.mark.parametrize(
    "names",
    [["left", "right"], ["hand_left", "hand_right"], ["LeftFoot", "RightFoot"], ["LEFT", "RIGHT"]],
)
def test_sides_are_found_however_they_are_written(names):
    assert describe(category(names))["keypoint_flip_map"] == [tuple(names)]


@given(st.lists(st.sampled_from(["eye", "ear", "hip", "knee", "toe"]), unique=True, min_size=1))
def test_the_pairs_of_all_parts_are_found(parts):
    names = [f"{side}_{part}" for side in ("right", "left") for part in parts]
    pairs = describe(category(names))["keypoint_flip_map"]
    assert pairs == [(f"left_{part}", f"right_{part}") for part in parts]


@pytest.mark.parametrize("names", [["a", "b"], ["left_eye", "right_eye", "left_ear"]])
def test_no_map_is_derived_where_it_would_be_half_or_empty(names):
    assert "keypoint_flip_map" not in describe(category(names))


def test_categories_without_keypoints_describe_none():
    assert describe({"id": 1, "name": "cat"}, category([])) == {}


def test_categories_may_share_their_keypoints():
    assert describe({"id": 2, "name": "dog"}, category(), category())["keypoint_names"] == NAMES


def test_different_keypoints_are_left_to_the_user(caplog):
    assert describe(category(), category(["nose"])) == {}
    assert "declare different keypoints" in caplog.text


def test_what_is_known_is_not_derived_again():
    described = describe(
        category(skeleton=[[1, 2]]), keypoint_names=tuple(NAMES), keypoint_flip_map=[]
    )
    assert list(described) == ["keypoint_connection_rules"]


def test_nothing_is_derived_for_other_names():
    assert describe(category(skeleton=[[1, 2]]), keypoint_names=["a", "b", "c", "d"]) == {}


@pytest.mark.parametrize("names", [17, "nose", [1, 2], ["nose", "nose"]])
def test_keypoints_that_are_no_different_names_are_refused(names):
    with pytest.raises(ValueError, match=r"the file: category 'cat' has 'keypoints' .*; wanted"):
        describe(category(names))


@pytest.mark.parametrize("bone", [[0, 1], [1, 5], [1], 3, [1, 2.5], ["nose", "tail"]])
def test_a_wrong_skeleton_is_reported_and_leaves_keypoints_unconnected(bone, caplog):
    described = describe(category(skeleton=[[1, 2], bone]))
    assert set(described) == {"keypoint_names", "keypoint_flip_map"}
    assert f"joins {bone!r}; wanted two numbers from 1 to 4" in caplog.text
