"""A small Mask R-CNN on generated shapes: learns on a CPU, in minutes, without downloads."""

from d2_config import LazyCall as L
from d2_data.transforms import RandomFlip, ResizeShortestEdge
from d2_engine.solver import CosineParamScheduler, WarmupParamScheduler
from d2_modeling.backbone import BasicBlock, ResNet

from ..common.data.coco import dataloader
from ..common.models.mask_rcnn_fpn import model
from ..common.optim import AdamW as optimizer
from ..common.train import train

# The recipe.
image_size = 128
batch_size = 8
max_iter = 1000
base_lr = 0.002
weight_decay = 0.05
warmup_iter = 50
stem_width = 32
stage_widths = [32, 64, 96, 128]
blocks_per_stage = 1
norm = "BN"
fpn_channels = 64
# Objects measure 20 to 80 pixels, so the coarse levels serve the features only: anchors at
# their strides would miss most objects, and regions pooled from them lose the outline.
levels = ["p2", "p3", "p4"]
strides = [4, 8, 16]
anchor_sizes = [[12, 18], [28, 40], [56, 80]]
canonical_box_size = 112
rpn_samples = 64
proposals_train = 200
proposals_test = 100
roi_samples = 48
# Convolutions before the fully connected layer: outlines tell these classes apart.
box_convs = [64, 64]
box_features = 256
mask_convs = 2
num_classes = 4

train.update(
    output_dir="output/quickstart",
    max_iter=max_iter,
    eval_period=0,
    log_period=20,
    device="auto",
    channels_last=True,
    seed=1,
    checkpointer={"period": 200, "max_to_keep": 2},
)
# The coarsest level of the pyramid has weights that nothing is computed from.
train.ddp.find_unused_parameters = True

dataloader.train.dataset.names = "shapes_train"
dataloader.train.mapper.augmentations = [
    L(ResizeShortestEdge)(short_edge_length=image_size, max_size=2 * image_size),
    L(RandomFlip)(horizontal=True),
    L(RandomFlip)(horizontal=False, vertical=True),
]
dataloader.train.total_batch_size = batch_size
dataloader.train.num_workers = 0
dataloader.test.dataset.names = "shapes_val"
dataloader.test.mapper.augmentations = [
    L(ResizeShortestEdge)(short_edge_length=image_size, max_size=2 * image_size)
]
dataloader.test.batch_size = 10
dataloader.test.num_workers = 0

backbone = model.backbone
backbone.bottom_up.stem.update(out_channels=stem_width, norm=norm)
backbone.bottom_up.freeze_at = 0
backbone.bottom_up.stages = [
    L(ResNet.make_stage)(
        block_class=BasicBlock,
        num_blocks=blocks_per_stage,
        stride_per_block=[1 if index == 0 else 2] + [1] * (blocks_per_stage - 1),
        in_channels=stem_width if index == 0 else stage_widths[index - 1],
        out_channels=width,
        norm=norm,
    )
    for index, width in enumerate(stage_widths)
]
backbone.out_channels = fpn_channels
backbone.top_block = None

rpn = model.proposal_generator
rpn.in_features = levels
rpn.head.in_channels = fpn_channels
rpn.head.num_anchors = 3 * len(anchor_sizes[0])
rpn.anchor_generator.sizes = anchor_sizes
rpn.anchor_generator.strides = strides
rpn.batch_size_per_image = rpn_samples
rpn.pre_nms_topk = (2 * proposals_train, 2 * proposals_test)
rpn.post_nms_topk = (proposals_train, proposals_test)

heads = model.roi_heads
heads.num_classes = num_classes
heads.batch_size_per_image = roi_samples
heads.box_in_features = levels
heads.mask_in_features = levels
for pooler in (heads.box_pooler, heads.mask_pooler):
    pooler.scales = [1 / stride for stride in strides]
    pooler.canonical_box_size = canonical_box_size
heads.box_head.input_shape.channels = fpn_channels
heads.box_head.conv_dims = box_convs
heads.box_head.conv_norm = norm
heads.box_head.fc_dims = [box_features]
heads.box_predictor.input_shape.channels = box_features
heads.mask_head.input_shape.channels = fpn_channels
heads.mask_head.conv_dims = [fpn_channels] * (mask_convs + 1)

optimizer.lr = base_lr
optimizer.weight_decay = weight_decay
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1.0, end_value=0.01),
    warmup_factor=0.01,
    warmup_length=warmup_iter / max_iter,
)

del backbone, rpn, heads, pooler
