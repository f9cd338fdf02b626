"""Cascade Mask R-CNN with ViT-H; 75 epochs of COCO."""

from .cascade_mask_rcnn_vitdet_b_100ep import model
from .mask_rcnn_vitdet_h_75ep import dataloader, lr_multiplier, optimizer, train
from .mask_rcnn_vitdet_h_75ep import model as _mask_rcnn

model.backbone = _mask_rcnn.backbone
