"""Mask R-CNN R50-FPN, 50 epochs."""

from .mask_rcnn_R_50_FPN_100ep_LSJ import dataloader, lr_multiplier, model, optimizer, train

train.max_iter //= 2
lr_multiplier.scheduler.milestones = [end // 2 for end in lr_multiplier.scheduler.milestones]
lr_multiplier.scheduler.num_updates = train.max_iter
