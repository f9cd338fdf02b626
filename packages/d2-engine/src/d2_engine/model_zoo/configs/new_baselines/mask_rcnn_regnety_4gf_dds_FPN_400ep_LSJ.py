"""Mask R-CNN RegNetY-4GF FPN, 400 epochs."""

from .mask_rcnn_regnety_4gf_dds_FPN_100ep_LSJ import (
    dataloader,
    lr_multiplier,
    model,
    optimizer,
    train,
)

train.max_iter *= 4
lr_multiplier.scheduler.milestones = [4 * end for end in lr_multiplier.scheduler.milestones]
lr_multiplier.scheduler.num_updates = train.max_iter
