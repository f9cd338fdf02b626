"""Cascade Mask R-CNN with MViTv2-B; 36 epochs of COCO."""

from .cascade_mask_rcnn_mvitv2_t_3x import dataloader, lr_multiplier, model, optimizer, train

model.backbone.bottom_up.update(depth=24, last_block_indexes=(1, 4, 20, 23), drop_path_rate=0.4)

train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_B_in1k.pyth"
