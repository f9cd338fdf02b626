"""Cascade Mask R-CNN with ViT-L; 100 epochs of LVIS v1."""

from ..COCO.cascade_mask_rcnn_vitdet_l_100ep import model, optimizer, train
from ..common.lvis import dataloader, lvis_schedule
from ..common.lvis import predictor as _predictor

model.roi_heads.num_classes = 1203
for _box_predictor in model.roi_heads.box_predictors:
    _box_predictor.update(_predictor)

train.max_iter, lr_multiplier = lvis_schedule(epochs=100)
train.eval_period = 30_000

optimizer.lr = 2e-4
