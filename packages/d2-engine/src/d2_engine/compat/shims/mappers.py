"""A mapper whose step for annotations subclasses overwrite; d2 maps all objects at once."""

import copy
from typing import Any

import torch

import d2_data
from d2_data import detection_utils
from d2_data.transforms import AugInput


class DatasetMapper(d2_data.DatasetMapper):
    """`d2_data.DatasetMapper`; step by step if a subclass overwrites ``_transform_annotations``."""

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any] | None:
        """Map a dataset dict to what a model takes."""
        if type(self)._transform_annotations is DatasetMapper._transform_annotations:
            return super().__call__(dataset_dict)
        dataset_dict = copy.deepcopy(dataset_dict)
        image = detection_utils.read_image(dataset_dict["file_name"], format=self.image_format)
        detection_utils.check_image_size(dataset_dict, image)
        labels = dataset_dict.pop("sem_seg_file_name", None)
        segments = None if labels is None else detection_utils.read_image(labels, "L").squeeze(2)
        augmented = AugInput(image, sem_seg=segments)
        transforms = self.augmentations(augmented)
        image_shape = augmented.image.shape[:2]
        dataset_dict["image"] = detection_utils.image_to_tensor(augmented.image)
        if augmented.sem_seg is not None:
            dataset_dict["sem_seg"] = torch.as_tensor(augmented.sem_seg.astype("long"))
        if self.proposal_topk is not None:
            detection_utils.transform_proposals(
                dataset_dict, image_shape, transforms, proposal_topk=self.proposal_topk
            )
        if not self.is_train:
            dataset_dict.pop("annotations", None)
        elif "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, image_shape)
        return dataset_dict

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: Any, image_shape: tuple[int, int]
    ) -> None:
        """Put ``instances`` in the place of ``annotations``."""
        for annotation in dataset_dict["annotations"]:
            if not self.use_instance_mask:
                annotation.pop("segmentation", None)
            if not self.use_keypoint:
                annotation.pop("keypoints", None)
        transformed = [
            detection_utils.transform_instance_annotations(
                annotation,
                transforms,
                image_shape,
                keypoint_hflip_indices=self.keypoint_hflip_indices,
            )
            for annotation in dataset_dict.pop("annotations")
            if annotation.get("iscrowd", 0) == 0
        ]
        instances = detection_utils.annotations_to_instances(
            transformed, image_shape, mask_format=self.instance_mask_format
        )
        if self.recompute_boxes:
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        dataset_dict["instances"] = detection_utils.filter_empty_instances(instances)
