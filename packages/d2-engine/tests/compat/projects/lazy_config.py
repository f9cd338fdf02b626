"""A lazy config that names detectron2 in strings and in calls."""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch import RetinaNet
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

train = {"output_dir": "lazy", "max_iter": 2, "device": "cpu", "amp": {"enabled": False}}

model = L(RetinaNet)(
    backbone={
        "_target_": "detectron2.modeling.backbone.FPN",
        "bottom_up": {
            "_target_": "detectron2.modeling.backbone.resnet.ResNet",
            "stem": {
                "_target_": "detectron2.modeling.backbone.resnet.BasicStem",
                "in_channels": 3,
                "out_channels": 64,
                "norm": "GN",
            },
            "stages": {
                "_target_": "detectron2.modeling.backbone.resnet.ResNet.make_default_stages",
                "depth": 18,
                "norm": "GN",
            },
            "out_features": ["res4", "res5"],
        },
        "in_features": ["res4", "res5"],
        "out_channels": 16,
    },
    head=L(RetinaNetHead)(
        input_shape=[ShapeSpec(channels=16)] * 2,
        num_classes="${..num_classes}",
        conv_dims=[16],
        num_anchors=1,
    ),
    anchor_generator={
        "_target_": "detectron2.modeling.anchor_generator.DefaultAnchorGenerator",
        "sizes": [[16], [32]],
        "aspect_ratios": [1.0],
        "strides": [16, 32],
    },
    box2box_transform={
        "_target_": "detectron2.modeling.box_regression.Box2BoxTransform",
        "weights": [1.0, 1.0, 1.0, 1.0],
    },
    anchor_matcher={
        "_target_": "detectron2.modeling.matcher.Matcher",
        "thresholds": [0.4, 0.5],
        "labels": [0, -1, 1],
        "allow_low_quality_matches": True,
    },
    num_classes=4,
    head_in_features=["p4", "p5"],
    pixel_mean=[103.530, 116.280, 123.675],
    pixel_std=[1.0, 1.0, 1.0],
)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[1], num_updates=2),
    warmup_length=0.0,
    warmup_factor=0.1,
)

optimizer = {
    "_target_": "torch.optim.SGD",
    "params": {
        "_target_": "detectron2.solver.build.get_default_optimizer_params",
        "weight_decay_norm": 0.0,
    },
    "lr": 0.001,
}

dataloader = {
    "train": {
        "_target_": "detectron2.data.build_detection_train_loader",
        "dataset": {
            "_target_": "detectron2.data.get_detection_dataset_dicts",
            "names": "shapes",
        },
        "mapper": {
            "_target_": "detectron2.data.DatasetMapper",
            "is_train": True,
            "augmentations": [
                {
                    "_target_": "detectron2.data.transforms.ResizeShortestEdge",
                    "short_edge_length": 64,
                }
            ],
            "image_format": "BGR",
        },
        "total_batch_size": 2,
        "num_workers": 0,
    }
}
