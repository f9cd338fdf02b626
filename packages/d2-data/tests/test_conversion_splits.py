import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2_data import Metadata
from d2_data.conversion import Split
from d2_data.conversion.splits import relative_names, with_common_classes


def split_of(name, classes, labels=(), ids=None, **more):
    metadata = Metadata(name=name, thing_classes=classes, **more)
    if ids:
        metadata.thing_dataset_id_to_contiguous_id = ids
    annotations = [{"category_id": label} for label in labels]
    return Split(name, [{"annotations": annotations}], metadata)


def test_splits_of_the_same_classes_stay_as_they_are():
    splits = [split_of(name, ["cat", "dog"], [0, 1], {3: 0, 8: 1}) for name in ("train", "val")]
    assert with_common_classes(splits) == splits


names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True)


@given(st.lists(names, min_size=1, max_size=3))
def test_objects_keep_the_name_of_their_class_when_splits_are_united(lists):
    splits = [split_of(str(i), classes, range(len(classes))) for i, classes in enumerate(lists)]
    united = with_common_classes(splits)
    assert len({tuple(split.classes) for split in united}) == 1
    assert sorted(united[0].classes) == sorted({name for classes in lists for name in classes})
    for split, classes in zip(united, lists, strict=True):
        labels = [a["category_id"] for a in split.records[0]["annotations"]]
        assert [split.classes[label] for label in labels] == classes


def test_splits_that_cannot_be_united_are_named():
    with pytest.raises(ValueError, match="'train' has several classes named 'cat'"):
        with_common_classes([split_of("train", ["cat", "cat"]), split_of("val", ["dog"])])
    posed = split_of("val", ["cat"], keypoint_names=["nose"])
    with pytest.raises(ValueError, match="'train' and 'val' differ in keypoint_names"):
        with_common_classes([split_of("train", ["cat"]), posed])


@pytest.mark.parametrize(
    ("files", "root", "expected"),
    [
        (["/d/a.png", "/d/s/b.png"], None, ["a.png", "s/b.png"]),
        (["/d/s/a.png", "/d/s/b.png"], None, ["a.png", "b.png"]),
        (["/d/s/a.png", "/d/s/b.png"], "/d", ["s/a.png", "s/b.png"]),
        (["/d/s/a.png", "/e/b.png"], "/d", ["d/s/a.png", "e/b.png"]),
        ([], None, []),
    ],
)
def test_images_keep_their_paths_below_the_folder_of_all(files, root, expected):
    metadata = Metadata(name="x", image_root=root)
    split = Split("train", [{"file_name": file} for file in files], metadata)
    assert relative_names(split) == expected


def test_images_that_differ_in_their_extension_only_are_named():
    records = [{"file_name": f"/d/a.{suffix}"} for suffix in ("png", "jpg")]
    with pytest.raises(ValueError, match=r"'a\.png' and 'a\.jpg' of split 'train'"):
        relative_names(Split("train", records, Metadata(name="x")))
