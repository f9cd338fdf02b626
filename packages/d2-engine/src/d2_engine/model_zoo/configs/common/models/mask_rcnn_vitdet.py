"""Mask R-CNN with a plain vision transformer, ViT-B, as backbone.

Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", 2022.
"""

from d2_config import LazyCall as L
from d2_modeling.backbone import (
    LastLevelMaxPool,
    SimpleFeaturePyramid,
    ViT,
    transformer_layer_norm,
)

from ..data.constants import constants
from .mask_rcnn_fpn import model

model.pixel_mean = constants["imagenet_rgb256_mean"]
model.pixel_std = constants["imagenet_rgb256_std"]
model.input_format = "RGB"

model.backbone = L(SimpleFeaturePyramid)(
    net=L(ViT)(
        img_size=1024,
        patch_size=16,
        embed_dim=768,
        depth=12,
        num_heads=12,
        drop_path_rate=0.1,
        window_size=14,
        mlp_ratio=4,
        qkv_bias=True,
        norm_layer=transformer_layer_norm,
        # Blocks 2, 5, 8 and 11 see the whole image.
        window_block_indexes=[0, 1, 3, 4, 6, 7, 9, 10],
        residual_block_indexes=[],
        use_rel_pos=True,
        out_feature="last_feat",
    ),
    in_feature="${.net.out_feature}",
    out_channels=256,
    scale_factors=[4.0, 2.0, 1.0, 0.5],
    top_block=L(LastLevelMaxPool)(),
    norm="LN",
    square_pad=1024,
)

model.proposal_generator.head.conv_dims = [-1, -1]
model.roi_heads.box_head.update(conv_dims=[256] * 4, fc_dims=[1024], conv_norm="LN")
model.roi_heads.mask_head.conv_norm = "LN"
