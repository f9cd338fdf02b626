"""Cascade Mask R-CNN with MViTv2-T; 36 epochs of COCO."""

from d2_engine import model_zoo

from .mask_rcnn_mvitv2_t_3x import dataloader, lr_multiplier, model, optimizer, train

_cascade = model_zoo.get_config("common/models/cascade_rcnn.py").model.roi_heads
_cascade.mask_head.conv_norm = "naiveSyncBN_N"
for _box_head in _cascade.box_heads:
    _box_head.update(conv_dims=[256] * 4, fc_dims=[1024], conv_norm="naiveSyncBN_N")
model.roi_heads = _cascade

model.proposal_generator.head.conv_dims = [-1, -1]
