"""COCO 2017 persons with keypoints."""

from .coco import dataloader

dataloader.train.dataset.names = "keypoints_coco_2017_train"
dataloader.train.dataset.min_keypoints = 1
dataloader.train.mapper.update(
    use_instance_mask=False,
    use_keypoint=True,
    # The nose is its own mirror image; of the other keypoints each right one follows its left.
    keypoint_hflip_indices=[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
)
dataloader.test.dataset.names = "keypoints_coco_2017_val"
