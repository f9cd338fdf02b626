import fvcore.nn.weight_init as weight_init
import torch
from detectron2.config import configurable
from detectron2.layers import Conv2d, get_norm
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    build_backbone,
    build_sem_seg_head,
)
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.projects.point_rend.point_features import point_sample
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.memory import retry_if_cuda_oom
from torch import nn
from torch.nn import functional as F


@SEM_SEG_HEADS_REGISTRY.register()
class PixelDecoder(nn.Module):
    @configurable
    def __init__(self, input_shape, *, conv_dim, in_feature):
        super().__init__()
        self.in_feature = in_feature
        self.lateral = Conv2d(
            input_shape[in_feature].channels,
            conv_dim,
            kernel_size=1,
            bias=False,
            norm=get_norm("GN", conv_dim) if conv_dim % 32 == 0 else None,
        )
        self.mask_features = Conv2d(conv_dim, conv_dim, kernel_size=3, padding=1)
        weight_init.c2_xavier_fill(self.lateral)
        weight_init.c2_msra_fill(self.mask_features)

    @classmethod
    def from_config(cls, cfg, input_shape):
        return {
            "input_shape": input_shape,
            "conv_dim": cfg.MODEL.QUERY.HIDDEN_DIM,
            "in_feature": cfg.MODEL.QUERY.IN_FEATURE,
        }

    def forward(self, features):
        return self.mask_features(F.relu(self.lateral(features[self.in_feature])))


@META_ARCH_REGISTRY.register()
class QueryDetector(nn.Module):
    """Masks by products of learned queries with pixels."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        decoder,
        num_queries,
        num_classes,
        hidden_dim,
        mask_weight,
        size_divisibility,
        pixel_mean,
        pixel_std,
    ):
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = nn.Linear(hidden_dim, hidden_dim)
        self.num_classes = num_classes
        self.mask_weight = mask_weight
        if size_divisibility < 0:
            size_divisibility = self.backbone.size_divisibility
        self.size_divisibility = size_divisibility
        self.register_buffer("pixel_mean", torch.Tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.Tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg):
        backbone = build_backbone(cfg)
        decoder = build_sem_seg_head(cfg, backbone.output_shape())
        return {
            "backbone": backbone,
            "decoder": decoder,
            "num_queries": cfg.MODEL.QUERY.NUM_QUERIES,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "hidden_dim": cfg.MODEL.QUERY.HIDDEN_DIM,
            "mask_weight": cfg.MODEL.QUERY.MASK_WEIGHT,
            "size_divisibility": 32,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self):
        return self.pixel_mean.device

    def forward(self, batched_inputs):
        images = [x["image"].to(self.device) for x in batched_inputs]
        images = [(x - self.pixel_mean) / self.pixel_std for x in images]
        images = ImageList.from_tensors(images, self.size_divisibility)
        pixels = self.decoder(self.backbone(images.tensor))
        queries = self.query_feat.weight
        masks = torch.einsum("qc,bchw->bqhw", self.mask_embed(queries), pixels)
        logits = self.class_embed(queries)[None].expand(len(images), -1, -1)
        if self.training:
            gt_instances = [x["instances"].to(self.device) for x in batched_inputs]
            return self.losses(logits, masks, gt_instances)
        masks = F.interpolate(
            masks, size=images.tensor.shape[-2:], mode="bilinear", align_corners=False
        )
        results = []
        for logit, mask, inp, size in zip(
            logits, masks, batched_inputs, images.image_sizes, strict=False
        ):
            height, width = inp.get("height", size[0]), inp.get("width", size[1])
            mask = retry_if_cuda_oom(sem_seg_postprocess)(mask, size, height, width)
            results.append({"instances": self.instance_inference(logit, mask)})
        return results

    def losses(self, logits, masks, gt_instances):
        loss_class, loss_mask = 0, 0
        for logit, mask, gt in zip(logits, masks, gt_instances, strict=False):
            count = min(len(gt), len(logit))
            target = torch.full((len(logit),), self.num_classes, device=self.device)
            target[:count] = gt.gt_classes[:count]
            loss_class = loss_class + F.cross_entropy(logit, target)
            if count:
                points = torch.rand(count, 32, 2, device=self.device)
                labels = point_sample(gt.gt_masks[:count, None].float(), points)
                values = point_sample(mask[:count, None], points)
                loss_mask = loss_mask + F.binary_cross_entropy_with_logits(values, labels)
        return {"loss_ce": loss_class, "loss_mask": self.mask_weight * loss_mask}

    def instance_inference(self, mask_cls, mask_pred):
        scores, classes = mask_cls.softmax(-1)[:, :-1].max(-1)
        result = Instances(mask_pred.shape[-2:])
        result.pred_masks = (mask_pred > 0).float()
        result.pred_boxes = Boxes(torch.zeros(mask_pred.size(0), 4))
        result.pred_boxes = BitMasks(mask_pred > 0).get_bounding_boxes()
        result.scores = scores
        result.pred_classes = classes
        return result
