"""Mask R-CNN R101-FPN, 200 epochs."""

from .mask_rcnn_R_101_FPN_100ep_LSJ import dataloader, lr_multiplier, model, optimizer, train

train.max_iter *= 2
lr_multiplier.scheduler.milestones = [2 * end for end in lr_multiplier.scheduler.milestones]
lr_multiplier.scheduler.num_updates = train.max_iter
