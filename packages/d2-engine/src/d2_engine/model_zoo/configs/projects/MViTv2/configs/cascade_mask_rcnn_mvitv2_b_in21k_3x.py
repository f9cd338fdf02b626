"""Cascade Mask R-CNN with MViTv2-B, pretrained on ImageNet-21k; 36 epochs of COCO."""

from .cascade_mask_rcnn_mvitv2_b_3x import dataloader, lr_multiplier, model, optimizer, train

train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_B_in21k.pyth"
