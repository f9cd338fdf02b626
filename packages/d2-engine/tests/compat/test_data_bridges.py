"""Data in detectron2's forms, which the compatibility import adds to d2's."""

from collections import Counter

import numpy as np
import pytest
import torch

from d2_data.transforms import HFlipTransform, NoOpTransform, RandomFlip
from d2_engine.compat.shims import (
    augmentation_calls,
    builtin_vocabularies,
    color_augmentation,
    dataset_filters,
    ground_truth_forms,
    grouped_batches,
    iterable_datasets,
    list_serialization,
    loader_benchmark,
    loader_parts,
)
from d2_structures import Boxes, Instances


def test_lists_and_samplers_become_streams_and_batches():
    numbers = list(range(10))
    stream = iterable_datasets.ToIterableDataset(numbers, [3, 1, 4])
    assert list(stream) == [3, 1, 4]
    assert len(stream) == 3
    with pytest.raises(TypeError, match="stream"):
        iterable_datasets.ToIterableDataset(stream, [])
    loader = loader_parts.build_batch_data_loader(numbers, [0, 1, 2, 3, 4], 2)
    assert list(loader) == [[0, 1], [2, 3]]
    collated = loader_parts.build_batch_data_loader(numbers, [0, 1, 2], 3, collate_fn=sum)
    assert list(collated) == [3]
    with pytest.raises(ValueError, match="cannot be shared"):
        loader_parts.build_batch_data_loader(numbers, [0], 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_processes_share_the_sampler(workers: int):
    loader = loader_parts.build_batch_data_loader(
        list(range(20)), list(range(20)), 2, num_workers=workers
    )
    assert sorted(number for batch in loader for number in batch) == list(range(20))


def test_wide_images_are_batched_with_wide_ones():
    images = [{"width": 2, "height": 1}, {"width": 1, "height": 2}] * 2
    loader = loader_parts.build_batch_data_loader(
        images, [0, 1, 2, 3], 2, aspect_ratio_grouping=True
    )
    assert [[entry["width"] for entry in batch] for batch in loader] == [[2, 2], [1, 1]]


def test_batches_hold_one_group_each():
    sampler = torch.utils.data.SequentialSampler(range(6))
    batches = grouped_batches.GroupedBatchSampler(sampler, [0, 1, 0, 1, 1, 1], 2)
    assert list(batches) == [[0, 2], [1, 3], [4, 5]]
    with pytest.raises(TypeError, match="torch Sampler"):
        grouped_batches.GroupedBatchSampler([0, 1], [0, 0], 2)


def test_the_parts_of_a_loader_are_timed():
    timed = loader_benchmark.DataLoaderBenchmark(
        [{"a": 1}] * 4, mapper=dict, sampler=[0, 1, 2, 3] * 5, total_batch_size=2
    )
    for seconds in (
        timed.benchmark_dataset(3, 1),
        timed.benchmark_mapper(3, 1),
        timed.benchmark_workers(3, 1),
        timed.benchmark_IPC(3, 1),
    ):
        assert seconds > 0


def test_packed_lists_hold_what_they_were_given():
    packed = list_serialization.NumpySerializedList([{"a": 1}, {"a": 2}])
    assert [entry["a"] for entry in (packed[0], packed[1])] == [1, 2]
    with list_serialization.set_default_dataset_from_list_serialize_method(dict):
        pass


def test_datasets_are_filtered():
    crowd = {"annotations": [{"iscrowd": 1}]}
    ordinary = {"annotations": [{"iscrowd": 0, "keypoints": [1, 1, 2, 3, 3, 0]}]}
    keep = dataset_filters.filter_images_with_only_crowd_annotations
    assert keep([crowd, ordinary]) == [ordinary]
    few = dataset_filters.filter_images_with_few_keypoints
    assert few([crowd, ordinary], 1) == [ordinary]
    assert few([ordinary], 2) == []


def test_augmentations_and_transforms_are_applied_in_order():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    flipped, chosen = augmentation_calls.apply_augmentations(
        [RandomFlip(prob=1.0), NoOpTransform(), HFlipTransform(2)], image
    )
    assert (flipped == image).all()
    assert len(chosen.transforms) == 3
    with pytest.raises(TypeError, match="Augmentation or a Transform"):
        augmentation_calls._transform_to_aug(3)


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_random_colours_change_images_and_nothing_else(order: str):
    transform = color_augmentation.ColorAugSSDTransform(order)
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    changed = [transform.apply_image(image) for _ in range(20)]
    assert all(c.dtype == np.uint8 and c.shape == image.shape for c in changed)
    assert any((c != image).any() for c in changed)
    assert transform.apply_coords(3) == transform.apply_segmentation(3) == 3
    with pytest.raises(ValueError, match="knows the formats"):
        color_augmentation.ColorAugSSDTransform("HSV")


def test_lists_of_categories_have_the_originals_form():
    coco = builtin_vocabularies.COCO_CATEGORIES
    assert len(coco) == 133
    assert coco[0] == {"color": [220, 20, 60], "isthing": 1, "id": 1, "name": "person"}
    assert sum(category["isthing"] for category in coco) == 80
    cityscapes = builtin_vocabularies.CITYSCAPES_CATEGORIES
    assert len(cityscapes) == 19
    assert cityscapes[0]["id"] == 7
    assert cityscapes[0]["trainId"] == 0
    lvis = builtin_vocabularies.LVIS_V1_CATEGORIES
    assert len(lvis) == 1203
    assert Counter(category["frequency"] for category in lvis) == {"f": 405, "c": 461, "r": 337}
    assert len(builtin_vocabularies.LVIS_V0_5_CATEGORIES) == 1230
    assert len(builtin_vocabularies.PASCAL_VOC_CLASS_NAMES) == 20
    assert len(builtin_vocabularies._get_coco_instances_meta()["thing_classes"]) == 80
    with pytest.raises(KeyError, match="no built-in metadata"):
        builtin_vocabularies._get_builtin_metadata("mine")


def test_annotations_are_drawn_by_functions():
    square = np.array([2.0, 2, 8, 2, 8, 8, 2, 8])
    drawn = ground_truth_forms.rasterize_polygons_within_box([square], [2, 2, 8, 8], 4)
    assert drawn.all()
    heatmap, valid = ground_truth_forms._keypoints_to_heatmap(
        torch.tensor([[[5.0, 5, 2]]]), torch.tensor([[0.0, 0, 10, 10]]), 4
    )
    assert heatmap.tolist() == [[10]]
    assert valid.tolist() == [[1]]
    proposals = Instances((10, 10), proposal_boxes=Boxes([[0, 0, 1, 1]]))
    proposals.objectness_logits = torch.zeros(1)
    joined = ground_truth_forms.add_ground_truth_to_proposals_single_image(
        Boxes([[1, 1, 2, 2]]), proposals
    )
    assert len(joined) == 2
