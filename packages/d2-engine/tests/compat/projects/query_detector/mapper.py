import copy
import logging

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.data.transforms import TransformGen
from detectron2.structures import BitMasks, Instances, polygons_to_bitmask
from fvcore.transforms.transform import NoOpTransform

__all__ = ["QueryDatasetMapper"]


class Nothing(TransformGen):
    def __init__(self, size=None):
        super().__init__()
        self._init(locals())

    def get_transform(self, img):
        assert self.size is None
        return NoOpTransform()


def build_transform_gen(cfg, is_train):
    assert is_train
    return [
        Nothing(),
        T.ResizeScale(min_scale=0.5, max_scale=1.5, target_height=64, target_width=64),
        T.FixedSizeCrop(crop_size=(64, 64)),
    ]


class QueryDatasetMapper:
    @configurable
    def __init__(self, is_train=True, *, tfm_gens, image_format):
        self.tfm_gens = tfm_gens
        logging.getLogger(__name__).info(f"Full TransformGens used in training: {self.tfm_gens}")
        self.img_format = image_format
        self.is_train = is_train

    @classmethod
    def from_config(cls, cfg, is_train=True):
        tfm_gens = build_transform_gen(cfg, is_train)
        return {"is_train": is_train, "tfm_gens": tfm_gens, "image_format": cfg.INPUT.FORMAT}

    def __call__(self, dataset_dict):
        dataset_dict = copy.deepcopy(dataset_dict)
        image = utils.read_image(dataset_dict["file_name"], format=self.img_format)
        utils.check_image_size(dataset_dict, image)
        padding_mask = np.ones(image.shape[:2])
        image, transforms = T.apply_transform_gens(self.tfm_gens, image)
        padding_mask = transforms.apply_segmentation(padding_mask)
        padding_mask = ~padding_mask.astype(bool)
        image_shape = image.shape[:2]
        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        dataset_dict["padding_mask"] = torch.as_tensor(np.ascontiguousarray(padding_mask))
        if not self.is_train:
            dataset_dict.pop("annotations", None)
            return dataset_dict
        annos = [
            utils.transform_instance_annotations(obj, transforms, image_shape)
            for obj in dataset_dict.pop("annotations")
            if obj.get("iscrowd", 0) == 0
        ]
        masks = [
            torch.from_numpy(polygons_to_bitmask(anno["segmentation"], *image_shape))
            for anno in annos
        ]
        instances = Instances(image_shape)
        classes = torch.tensor([int(obj["category_id"]) for obj in annos], dtype=torch.int64)
        instances.gt_classes = classes
        if len(masks) == 0:
            instances.gt_masks = torch.zeros((0, *image_shape))
        else:
            instances.gt_masks = BitMasks(torch.stack(masks)).tensor
            instances.gt_boxes = BitMasks(torch.stack(masks)).get_bounding_boxes()
        dataset_dict["instances"] = instances
        return dataset_dict
