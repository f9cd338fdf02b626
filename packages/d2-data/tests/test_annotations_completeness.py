import pytest

from d2_data.annotations import count_lacking, has_any, is_crowd, with_keypoints


@pytest.mark.parametrize("flag", [1, True, 1.0])
def test_crowd_is_what_says_so(flag):
    assert is_crowd({"iscrowd": flag})


@pytest.mark.parametrize("annotation", [{}, {"iscrowd": 0}, {"iscrowd": None}])
def test_everything_else_is_an_object(annotation):
    assert not is_crowd(annotation)


def test_lacking_objects_are_counted_without_crowds():
    records = [
        {"file_name": "a", "annotations": [{"keypoints": [1, 1, 2]}, {"iscrowd": 1}]},
        {"file_name": "b", "annotations": [{}, {"keypoints": []}, {"keypoints": None}]},
        {"file_name": "c", "annotations": None},
        {"file_name": "d"},
    ]
    count = count_lacking(records, "keypoints")
    assert count == (4, 3, 1, records[1])


def test_nothing_lacking_has_no_example():
    assert (
        count_lacking([{"annotations": [{"segmentation": [[1]]}]}], "segmentation").example is None
    )


def test_one_object_with_a_field_is_enough():
    lacking = {"annotations": [{}, {"segmentation": []}, {"iscrowd": 1, "segmentation": [[1]]}]}
    assert not has_any([lacking], "segmentation")
    assert has_any([lacking, {"annotations": [{"segmentation": [[1]]}]}], "segmentation")
    assert has_any([{"annotations": []}, {}], "segmentation")


PLACES = ["annotation 0", "annotation 1", "annotation 2"]


def test_objects_without_keypoints_get_unlabelled_ones():
    annotations = [{"keypoints": [1, 2, 2, 3, 4, 1]}, {"category_id": 3}]
    completed = with_keypoints(annotations, None, PLACES[:2])
    assert completed == [annotations[0], {"category_id": 3, "keypoints": [0.0] * 6}]
    assert "keypoints" not in annotations[1]


def test_number_of_keypoints_counts_where_no_object_has_any():
    assert with_keypoints([{}], 2, PLACES[:1]) == [{"keypoints": [0.0] * 6}]
    assert with_keypoints([{}], None, PLACES[:1]) == [{}]
    assert with_keypoints([], 2, []) == []


@pytest.mark.parametrize("count", [2, None])
def test_object_with_another_number_is_named(count):
    annotations = [{"keypoints": [1, 2, 2] * n} for n in (2, 2, 5)]
    with pytest.raises(ValueError, match="annotation 2 has 5 keypoints, .* objects have 2"):
        with_keypoints(annotations, count, PLACES)
