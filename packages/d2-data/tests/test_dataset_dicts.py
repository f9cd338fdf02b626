import logging

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
