"""A project as they are written for detectron2: ROI heads that also predict attributes.

It has its own box predictor, its own ROI heads made in ``_init_box_head``, its own config keys, and
a training script.
"""

import logging
import os

import detectron2.utils.comm as comm
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode as CN
from detectron2.config import configurable, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import (
    DefaultTrainer,
    default_argument_parser,
    default_setup,
    hooks,
    launch,
)
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators, verify_results
from detectron2.layers import ShapeSpec, cat, nonzero_tuple
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.roi_heads.box_head import build_box_head
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from detectron2.utils.events import get_event_storage
from detectron2.utils.logger import setup_logger
from torch import nn
from torch.nn import functional as F

logger = logging.getLogger("detectron2")


def add_attribute_config(cfg):
    cfg.MODEL.ROI_ATTRIBUTE_HEAD = CN()
    cfg.MODEL.ROI_ATTRIBUTE_HEAD.NUM_ATTRIBUTES = 3
    cfg.MODEL.ROI_ATTRIBUTE_HEAD.LOSS_WEIGHT = 0.5


class AttributeOutputLayers(FastRCNNOutputLayers):
    @configurable
    def __init__(self, input_shape, *, num_attributes, attribute_weight, **kwargs):
        super().__init__(input_shape, **kwargs)
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        self.attribute_score = nn.Linear(input_shape.channels, num_attributes)
        nn.init.normal_(self.attribute_score.weight, std=0.01)
        self.attribute_weight = attribute_weight

    @classmethod
    def from_config(cls, cfg, input_shape):
        ret = super().from_config(cfg, input_shape)
        ret["num_attributes"] = cfg.MODEL.ROI_ATTRIBUTE_HEAD.NUM_ATTRIBUTES
        ret["attribute_weight"] = cfg.MODEL.ROI_ATTRIBUTE_HEAD.LOSS_WEIGHT
        return ret

    def forward(self, x):
        scores, deltas = super().forward(x)
        return scores, deltas, self.attribute_score(x)

    def losses(self, predictions, proposals):
        scores, deltas, attributes = predictions
        losses = super().losses((scores, deltas), proposals)
        gt_classes = cat([p.gt_classes for p in proposals], dim=0)
        foreground = nonzero_tuple((gt_classes >= 0) & (gt_classes < self.num_classes))[0]
        target = F.one_hot(gt_classes[foreground] % 3, 3).float()
        losses["loss_attribute"] = (
            self.attribute_weight
            * F.binary_cross_entropy_with_logits(attributes[foreground], target, reduction="sum")
            / max(gt_classes.numel(), 1.0)
        )
        get_event_storage().put_scalar("attributes/num_foreground", len(foreground))
        return losses

    def inference(self, predictions, proposals):
        boxes = self.predict_boxes(predictions[:2], proposals)
        scores = self.predict_probs(predictions[:2], proposals)
        instances, kept = fast_rcnn_inference(
            boxes,
            scores,
            [x.image_size for x in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )
        attributes = predictions[2].sigmoid().split([len(p) for p in proposals], dim=0)
        for result, indices, probs in zip(instances, kept, attributes, strict=False):
            result.attributes = probs[indices]
        return instances, kept


@ROI_HEADS_REGISTRY.register()
class AttributeROIHeads(StandardROIHeads):
    @classmethod
    def _init_box_head(cls, cfg, input_shape):
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        resolution = cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
        channels = [input_shape[f].channels for f in in_features]
        assert len(set(channels)) == 1, channels
        box_pooler = ROIPooler(
            output_size=resolution,
            scales=tuple(1.0 / input_shape[k].stride for k in in_features),
            sampling_ratio=cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO,
            pooler_type=cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE,
        )
        box_head = build_box_head(
            cfg, ShapeSpec(channels=channels[0], height=resolution, width=resolution)
        )
        return {
            "box_in_features": in_features,
            "box_pooler": box_pooler,
            "box_head": box_head,
            "box_predictor": AttributeOutputLayers(cfg, box_head.output_shape),
        }

    def _forward_box(self, features, proposals):
        features = [features[f] for f in self.box_in_features]
        box_features = self.box_pooler(features, [x.proposal_boxes for x in proposals])
        box_features = self.box_head(box_features)
        predictions = self.box_predictor(box_features)
        del box_features
        if self.training:
            losses = self.box_predictor.losses(predictions, proposals)
            if self.train_on_pred_boxes:
                with torch.no_grad():
                    self.box_predictor.predict_boxes_for_gt_classes(predictions[:2], proposals)
            return losses
        pred_instances, _ = self.box_predictor.inference(predictions, proposals)
        return pred_instances


class Trainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        if output_folder is None:
            output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        assert MetadataCatalog.get(dataset_name).evaluator_type == "coco"
        return DatasetEvaluators([COCOEvaluator(dataset_name, output_dir=output_folder)])


def setup(args):
    cfg = get_cfg()
    add_attribute_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    setup_logger(output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="attributes")
    return cfg


def main(args):
    register_coco_instances("shapes", {}, "shapes/instances.json", "shapes/images")
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
            cfg.MODEL.WEIGHTS, resume=args.resume
        )
        res = Trainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, res)
        return res
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.register_hooks([hooks.EvalHook(0, lambda: {"mine": 1.0})])
    return trainer.train()


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    print("Command Line Args:", args)
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
