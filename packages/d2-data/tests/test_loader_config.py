"""Loaders and mappers of yacs-style configs."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from d2_config import get_cfg
from d2_data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from d2_data import transforms as T
from d2_data.samplers import RepeatFactorTrainingSampler, TrainingSampler


@pytest.fixture
def name(tmp_path):
    """A registered dataset of five images, one of them empty, with two keypoints."""
    records = []
    for index in range(5):
        file = tmp_path / f"{index}.png"
        Image.fromarray(np.full((20, 30, 3), index, dtype=np.uint8)).save(file)
        annotation = {
            "bbox": [2.0, 3.0, 10.0, 8.0],
            "bbox_mode": 1,
            "category_id": index % 2,
            "segmentation": [[2.0, 3.0, 12.0, 3.0, 12.0, 11.0]],
            "keypoints": [4.0, 5.0, 2, 6.0, 7.0, 2 * (index % 2)],
        }
        record = {"file_name": str(file), "height": 20, "width": 30, "image_id": index}
        records.append({**record, "annotations": [] if index == 4 else [annotation]})
    name = f"loader_config_{tmp_path.name}"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(
        thing_classes=["a", "b"],
        keypoint_names=["left_eye", "right_eye"],
        keypoint_flip_map=[("left_eye", "right_eye")],
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def cfg(name):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MIN_SIZE_TRAIN = (20,)
    cfg.INPUT.MIN_SIZE_TEST = 40
    cfg.SEED = 7
    return cfg


def proposals(path, ids=range(5)) -> str:
    content = {
        "ids": list(ids),
        "boxes": [np.array([[0.0, 0.0, 9.0, 9.0]])] * len(ids),
        "objectness_logits": [np.ones(1)] * len(ids),
    }
    path.write_bytes(pickle.dumps(content))
    return str(path)


def ids_of(loader, batches: int) -> list[int]:
    return [item["image_id"] for batch in itertools.islice(loader, batches) for item in batch]


def test_a_config_describes_the_training_loader(cfg):
    loader = build_detection_train_loader(cfg)
    batch = next(iter(loader))
    assert len(batch) == 2
    assert batch[0]["image"].shape == (3, 20, 30)
    assert not batch[0]["instances"].has("gt_masks")
    assert set(ids_of(loader, 8)) == {0, 1, 2, 3}
    assert ids_of(loader, 8) == ids_of(build_detection_train_loader(cfg), 8)


def test_empty_images_are_kept_where_the_config_says_so(cfg):
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    assert 4 in ids_of(build_detection_train_loader(cfg), 8)


def test_images_with_few_keypoints_are_left_out_of_keypoint_training(cfg):
    cfg.MODEL.KEYPOINT_ON = True
    cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 2
    loader = build_detection_train_loader(cfg)
    assert set(ids_of(loader, 8)) == {1, 3}
    assert next(iter(loader))[0]["instances"].gt_keypoints.tensor.shape == (1, 2, 3)


def test_arguments_beside_the_config_win(cfg):
    plain = build_detection_train_loader(cfg, mapper=lambda record: record, total_batch_size=3)
    assert [sorted(item) for item in next(iter(plain))] == [
        ["annotations", "file_name", "height", "image_id", "width"]
    ] * 3
    mine = [{"image_id": 9, "width": 1, "height": 1}]
    given = build_detection_train_loader(cfg, dataset=mine, mapper=lambda record: record)
    assert ids_of(given, 2) == [9] * 4
    sampler = TrainingSampler(4, shuffle=False)
    assert ids_of(build_detection_train_loader(cfg, sampler=sampler), 2) == [0, 1, 2, 3]


@pytest.mark.parametrize(("sqrt", "factor"), [(True, 2.0), (False, 4.0)])
def test_rare_categories_are_repeated_where_the_config_says_so(cfg, monkeypatch, sqrt, factor):
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 2.0
    cfg.DATALOADER.REPEAT_SQRT = sqrt
    seen = []
    monkeypatch.setattr(
        "d2_data.loader_config.RepeatFactorTrainingSampler.__init__",
        lambda self, factors, seed: seen.append((factors, seed)),
    )
    monkeypatch.setattr(RepeatFactorTrainingSampler, "__iter__", lambda self: iter([0, 1]))
    build_detection_train_loader(cfg)
    assert torch.equal(seen[0][0], torch.full((4,), factor))
    assert seen[0][1] == 7


def test_an_unknown_sampler_is_named(cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "MySampler"
    with pytest.raises(ValueError, match=r"SAMPLER_TRAIN is 'MySampler'; known are Training"):
        build_detection_train_loader(cfg)


def test_a_config_describes_the_test_loader(cfg, name):
    for names in (name, [name]):
        loader = build_detection_test_loader(cfg, names)
        assert ids_of(loader, 9) == [0, 1, 2, 3, 4]
    item = next(iter(loader))[0]
    assert item["image"].shape == (3, 40, 60)
    assert "instances" not in item


def test_proposals_are_loaded_where_the_model_takes_them(cfg, name, tmp_path):
    cfg.MODEL.LOAD_PROPOSALS = True
    cfg.DATASETS.PROPOSAL_FILES_TRAIN = (proposals(tmp_path / "train.pkl"),)
    cfg.DATASETS.PROPOSAL_FILES_TEST = (proposals(tmp_path / "test.pkl"),)
    for loader in (build_detection_train_loader(cfg), build_detection_test_loader(cfg, name)):
        assert len(next(iter(loader))[0]["proposals"]) == 1
    with pytest.raises(ValueError, match="no proposals for another: name it in DATASETS.TEST"):
        build_detection_test_loader(cfg, "another")


def test_a_config_describes_the_mapper(cfg):
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MASK_FORMAT = "bitmask"
    mapper = DatasetMapper(cfg)
    assert [type(augmentation) for augmentation in mapper.augmentations.augs] == [
        T.RandomCrop,
        T.ResizeShortestEdge,
        T.RandomFlip,
    ]
    assert (mapper.image_format, mapper.instance_mask_format) == ("RGB", "bitmask")
    assert mapper.is_train
    assert mapper.use_instance_mask
    assert mapper.recompute_boxes
    assert not mapper.use_keypoint

    test_mapper = DatasetMapper(cfg, is_train=False)
    assert [type(augmentation) for augmentation in test_mapper.augmentations.augs] == [
        T.ResizeShortestEdge
    ]
    assert not test_mapper.recompute_boxes


def test_augmentations_beside_the_config_win(cfg):
    mapper = DatasetMapper(cfg, is_train=True, augmentations=[T.Resize((8, 9))])
    assert [type(augmentation) for augmentation in mapper.augmentations.augs] == [T.Resize]
