"""Cascade Mask R-CNN with MViTv2-B, as ViTDet is compared with it; 100 epochs of COCO."""

from d2_config import LazyCall as L
from d2_engine import model_zoo
from d2_modeling.backbone import FPN, LastLevelMaxPool, MViT, transformer_layer_norm

from .cascade_mask_rcnn_vitdet_b_100ep import dataloader, lr_multiplier, model, optimizer, train

constants = model_zoo.get_config("common/data/constants.py").constants

model.backbone = L(FPN)(
    bottom_up=L(MViT)(
        embed_dim=96,
        depth=24,
        num_heads=1,
        last_block_indexes=(1, 4, 20, 23),
        residual_pooling=True,
        drop_path_rate=0.4,
        norm_layer=transformer_layer_norm,
        out_features=("scale2", "scale3", "scale4", "scale5"),
    ),
    in_features="${.bottom_up.out_features}",
    out_channels=256,
    top_block=L(LastLevelMaxPool)(),
    square_pad=1024,
    norm="LN",
)

train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_B_in21k.pyth"

del optimizer.params.lr_factor_func
optimizer.lr = 8e-5
