"""Cascade Mask R-CNN with ViT-B; 100 epochs of COCO."""

from d2_engine import model_zoo

from .mask_rcnn_vitdet_b_100ep import dataloader, lr_multiplier, model, optimizer, train

_heads = model_zoo.get_config("common/models/cascade_rcnn.py").model.roi_heads
_heads.mask_head = model.roi_heads.mask_head
for _box_head in _heads.box_heads:
    _box_head.update(conv_dims=[256] * 4, fc_dims=[1024], conv_norm="LN")
model.roi_heads = _heads
