"""The tutorial on dataloaders: its code runs."""

import copy

import pytest
import torch

from d2_config import get_cfg
from d2_data import (
    DatasetCatalog,
    DatasetMapper,
    build_detection_test_loader,
    build_detection_train_loader,
)
from d2_data import detection_utils as utils
from d2_data import transforms as T
from d2_data.datasets.shapes import generate_shapes, register_shapes
from d2_structures import BitMasks, Instances


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documented") / "shapes"
    generate_shapes(folder, 6, image_size=64, seed=2)
    return folder


@pytest.fixture
def cfg(shapes):
    register_shapes("documented_loader", shapes)
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("documented_loader",)
    cfg.DATASETS.TEST = ("documented_loader",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.INPUT.MIN_SIZE_TRAIN = (48,)
    cfg.INPUT.MIN_SIZE_TEST = 96
    cfg.MODEL.MASK_ON = True
    return cfg


def check_batch(batch, *, size=None):
    """Assert that a batch is what models are documented to take."""
    assert len(batch) == 2
    for sample in batch:
        image, instances = sample["image"], sample["instances"]
        assert image.dtype == torch.uint8
        assert image.shape[0] == 3
        assert size is None or image.shape[1:] == size
        assert isinstance(instances, Instances)
        assert instances.image_size == tuple(image.shape[1:])
        assert instances.gt_boxes.tensor.shape == (len(instances), 4)
        assert instances.gt_classes.dtype == torch.int64


def test_loaders_take_the_name_of_a_dataset_from_a_config(cfg):
    batch = next(iter(build_detection_train_loader(cfg)))
    check_batch(batch)
    assert all(min(sample["image"].shape[1:]) == 48 for sample in batch)
    assert all(isinstance(sample["instances"].gt_masks, BitMasks) for sample in batch)
    tested = list(build_detection_test_loader(cfg, "documented_loader"))
    assert [len(batch) for batch in tested] == [1] * 6
    ids = [sample["image_id"] for batch in tested for sample in batch]
    assert ids == [record["image_id"] for record in DatasetCatalog.get("documented_loader")]
    assert all(min(batch[0]["image"].shape[1:]) == 96 for batch in tested)
    assert all((batch[0]["height"], batch[0]["width"]) == (64, 64) for batch in tested)


def test_default_mapper_takes_other_augmentations(cfg):
    dataloader = build_detection_train_loader(
        cfg, mapper=DatasetMapper(cfg, is_train=True, augmentations=[T.Resize((800, 800))])
    )
    check_batch(next(iter(dataloader)), size=(800, 800))


def test_mapper_may_be_a_function_of_one_s_own(cfg):
    def mapper(dataset_dict):
        dataset_dict = copy.deepcopy(dataset_dict)  # it will be modified by code below
        # can use other ways to read image
        image = utils.read_image(dataset_dict["file_name"], format="BGR")
        # See "Data Augmentation" tutorial for details usage
        auginput = T.AugInput(image)
        transform = T.Resize((800, 800))(auginput)
        image = torch.from_numpy(auginput.image.transpose(2, 0, 1))
        annos = [
            utils.transform_instance_annotations(annotation, [transform], image.shape[1:])
            for annotation in dataset_dict.pop("annotations")
        ]
        return {
            # create the format that the model expects
            "image": image,
            "instances": utils.annotations_to_instances(annos, image.shape[1:]),
        }

    register_cfg = cfg.clone()
    batch = next(iter(build_detection_train_loader(register_cfg, mapper=mapper)))
    check_batch(batch, size=(800, 800))


@pytest.mark.parametrize("kind", ["output", "batch"])
def test_mapper_s_output_and_batches_may_have_any_form(cfg, kind):
    def sizes(dataset_dict):
        return dataset_dict["width"] * dataset_dict["height"]

    collate = (lambda elements: torch.tensor(elements)) if kind == "batch" else None
    loader = build_detection_train_loader(cfg, mapper=sizes, collate_fn=collate)
    batch = next(iter(loader))
    assert (batch.tolist() if kind == "batch" else batch) == [64 * 64] * 2
