import logging

import numpy as np
import pytest

from d2_data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from d2_data.dataset_dicts import print_instances_class_histogram


def image(*categories, crowd=0, **annotation):
    return {
        "file_name": "a.jpg",
        "annotations": [{"category_id": c, "iscrowd": crowd, **annotation} for c in categories],
    }


@pytest.fixture
def dataset(request):
    made = []

    def make(dicts, classes=("cat", "dog")):
        made.append(f"test_{request.node.name}_{len(made)}")
        DatasetCatalog.register(made[-1], lambda: dicts)
        MetadataCatalog.get(made[-1]).thing_classes = list(classes)
        return made[-1]

    yield make
    for name in made:
        DatasetCatalog.data.pop(name, None)
        MetadataCatalog.data.pop(name, None)


def test_datasets_come_one_after_the_other(dataset):
    first, second = [image(0)], [image(1), image(0)]
    names = [dataset(first), dataset(second)]
    assert get_detection_dataset_dicts(names) == first + second
    assert get_detection_dataset_dicts(names[0]) == first


def test_images_without_objects_or_with_crowds_only_are_left_out(dataset):
    kept = image(0)
    name = dataset([image(), kept, image(1, crowd=1)])
    assert get_detection_dataset_dicts(name) == [kept]
    assert len(get_detection_dataset_dicts(name, filter_empty=False)) == 3


def test_images_with_few_visible_keypoints_are_left_out(dataset):
    many = image(0, 0, keypoints=[1, 1, 2, 5, 5, 1])
    few = image(0, keypoints=[1, 1, 2, 0, 0, 0])
    name = dataset([few, many, image(0)])
    assert get_detection_dataset_dicts(name, min_keypoints=3) == [many]


def test_histogram_counts_instances_without_crowds(dataset, caplog):
    caplog.set_level(logging.INFO)
    get_detection_dataset_dicts(dataset([image(0, 1, 1), image(1, crowd=1), image(1)]))
    assert "| cat   1 | dog   3 | total 4 |" in caplog.text


def test_category_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"'a\.jpg' has category_id 2, .* classes 0\.\.1"):
        print_instances_class_histogram([image(2)], ["cat", "dog"])


def test_datasets_without_instances_are_loaded(dataset):
    dicts = [{"file_name": "a.jpg", "sem_seg_file_name": "a.png"}]
    assert get_detection_dataset_dicts(dataset(dicts)) == dicts


def test_datasets_with_other_classes_do_not_go_together(dataset):
    names = [dataset([image(0)]), dataset([image(0)], ("bird",))]
    with pytest.raises(ValueError, match="agree in 'thing_classes'"):
        get_detection_dataset_dicts(names)


def test_nothing_to_load_says_why(dataset):
    with pytest.raises(ValueError, match="at least one dataset name"):
        get_detection_dataset_dicts([])
    with pytest.raises(ValueError, match="is empty; check its annotation file"):
        get_detection_dataset_dicts(dataset([]))
    with pytest.raises(ValueError, match="left after filtering; pass filter_empty=False"):
        get_detection_dataset_dicts(dataset([image()]))
    with pytest.raises(ValueError, match="got 2 proposal files for 1 datasets"):
        get_detection_dataset_dicts(dataset([image(0)]), proposal_files=["a", "b"])


def test_set_of_crowds_alone_says_that_crowds_are_the_reason(dataset):
    name = dataset([image(0, crowd=1), image(1, 1, crowd=True)])
    with pytest.raises(ValueError, match="all 3 annotations have 'iscrowd': 1, and regions of cr"):
        get_detection_dataset_dicts(name)


def test_images_with_crowds_only_are_counted_apart(dataset, caplog):
    caplog.set_level(logging.INFO)
    get_detection_dataset_dicts(dataset([image(0), image(), image(1, crowd=1)]))
    assert "Removed 2 images with no usable annotations (1 of them with annotations" in caplog.text


@pytest.mark.parametrize("nothing", ["missing", None, []])
def test_objects_that_lack_what_others_have_are_counted_and_named(dataset, caplog, nothing):
    lacking = image(1, 0)
    lacking["file_name"] = "b.jpg"
    if nothing != "missing":
        for annotation in lacking["annotations"]:
            annotation["segmentation"] = nothing
    outline = [[1, 2, 3, 4, 5, 6]]
    get_detection_dataset_dicts(dataset([image(0, segmentation=outline), lacking]))
    assert "2 of 3 objects, in 1 images, e.g. image 'b.jpg', have no 'segmentation'" in caplog.text
    assert "keypoints" not in caplog.text


def test_field_that_no_object_has_is_not_missed(dataset, caplog):
    get_detection_dataset_dicts(dataset([image(0), image(1)]))
    assert "have no" not in caplog.text


def test_records_know_their_dataset(dataset):
    names = [dataset([image(0), image(), image(1)]), dataset([image(1)])]
    records = get_detection_dataset_dicts(names)
    assert [records.sources.name_of(i) for i in range(3)] == [names[0], names[0], names[1]]


def test_keypoints_of_arrays_and_null_are_counted(dataset):
    many = image(0, keypoints=np.array([[1, 1, 2], [5, 5, 1]]))
    name = dataset([many, image(0, keypoints=None)])
    assert get_detection_dataset_dicts(name, min_keypoints=2) == [many]


@pytest.mark.parametrize("category", ["1", -1])
def test_category_that_is_no_class_is_named(category):
    with pytest.raises(ValueError, match=f"has category_id {category!r}, but the dataset has"):
        print_instances_class_histogram([image(category)], ["cat", "dog"])


def test_categories_of_numpy_are_counted(caplog):
    caplog.set_level(logging.INFO)
    print_instances_class_histogram([image(np.int64(1))], ["cat", "dog"])
    assert "| cat   0 | dog   1 |" in caplog.text
