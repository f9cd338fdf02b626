"""Cascade Mask R-CNN with MViTv2-S; 36 epochs of COCO."""

from .cascade_mask_rcnn_mvitv2_t_3x import dataloader, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.update(depth=16, last_block_indexes=(0, 2, 13, 15))

train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_S_in1k.pyth"
