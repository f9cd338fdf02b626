"""The quickstart config, smaller still. "DATA" stands for a dataset."""

from d2_config import LazyConfig
from d2_engine.model_zoo import get_config_file

_base = LazyConfig.load(get_config_file("quickstart/mask_rcnn_shapes.py"))
dataloader, model, optimizer = _base.dataloader, _base.model, _base.optimizer
train, lr_multiplier = _base.train, _base.lr_multiplier

for _part in (dataloader.train, dataloader.test):
    _part.dataset.names = "DATA"
    _part.mapper.augmentations[0].short_edge_length = 64
dataloader.train.total_batch_size = 2
train.max_iter = 6
train.log_period = 1
train.device = "cpu"
train.checkpointer.period = 3
model.proposal_generator.post_nms_topk = (50, 30)
model.roi_heads.batch_size_per_image = 8
model.roi_heads.box_predictor.test_topk_per_image = 20
