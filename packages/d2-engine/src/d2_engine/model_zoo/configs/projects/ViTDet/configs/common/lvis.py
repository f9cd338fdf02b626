"""What the configs of this project for LVIS share: the data, the losses, the schedule.

The rare classes are seen more often, and a federated loss spares those that an image was not
annotated with.

Source: Gupta et al., "LVIS", 2019; Zhou et al., "Probabilistic two-stage detection", 2021.
"""

from functools import partial

from d2_config import LazyCall as L
from d2_data.detection_utils import get_fed_loss_cls_weights
from d2_data.samplers import RepeatFactorTrainingSampler
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler
from d2_eval import LVISEvaluator

from .coco_loader_lsj import dataloader

dataloader.train.dataset.names = "lvis_v1_train"
dataloader.train.sampler = L(RepeatFactorTrainingSampler)(
    repeat_factors=L(RepeatFactorTrainingSampler.repeat_factors_from_category_frequency)(
        dataset_dicts="${dataloader.train.dataset}", repeat_thresh=0.001
    )
)
dataloader.test.dataset.names = "lvis_v1_val"
dataloader.evaluator = L(LVISEvaluator)(
    dataset_name="${..test.dataset.names}", max_dets_per_image=300
)

predictor = {
    "test_score_thresh": 0.02,
    "test_topk_per_image": 300,
    "use_sigmoid_ce": True,
    "use_fed_loss": True,
    "get_fed_loss_cls_weights": partial(
        get_fed_loss_cls_weights, dataset_names="lvis_v1_train", freq_weight_power=0.5
    ),
}


def lvis_schedule(epochs):
    """Of 64 images each: that many epochs of the 100 000 images; returns the length too."""
    total = epochs * 3125 // 2
    multiplier = L(WarmupParamScheduler)(
        scheduler=L(MultiStepParamScheduler)(
            values=[1.0, 0.1, 0.01],
            milestones=[138_889 * epochs // 100, 150_463 * epochs // 100],
            num_updates=total,
        ),
        warmup_length=250 / total,
        warmup_factor=0.001,
    )
    return total, multiplier
