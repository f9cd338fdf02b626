"""Panoptic FPN: things and stuff from one pyramid.

Source: Kirillov et al., "Panoptic Feature Pyramid Networks", 2019.
"""

from d2_config import LazyCall as L
from d2_modeling import ShapeSpec
from d2_modeling.meta_arch import PanopticFPN, SemSegFPNHead

from .mask_rcnn_fpn import model

model.update(
    _target_=PanopticFPN,
    sem_seg_head=L(SemSegFPNHead)(
        input_shape={
            name: L(ShapeSpec)(stride=stride, channels="${....backbone.out_channels}")
            for name, stride in (("p2", 4), ("p3", 8), ("p4", 16), ("p5", 32))
        },
        ignore_value=255,
        num_classes=54,  # 53 kinds of stuff, and one for all things
        conv_dims=128,
        common_stride=4,
        loss_weight=0.5,
        norm="GN",
    ),
)
