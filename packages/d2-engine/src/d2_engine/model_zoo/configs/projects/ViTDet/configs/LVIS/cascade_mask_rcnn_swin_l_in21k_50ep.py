"""Cascade Mask R-CNN with Swin-L; 50 epochs of LVIS v1."""

from ..COCO.cascade_mask_rcnn_swin_l_in21k_50ep import model, optimizer, train
from ..common.lvis import dataloader, lvis_schedule
from ..common.lvis import predictor as _predictor

model.roi_heads.num_classes = 1203
for _box_predictor in model.roi_heads.box_predictors:
    _box_predictor.update(_predictor)

model.backbone.bottom_up.drop_path_rate = 0.3

train.max_iter, lr_multiplier = lvis_schedule(epochs=50)
train.eval_period = 30_000

optimizer.lr = 1e-4
