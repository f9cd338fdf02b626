"""The model of Panoptic-DeepLab."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import BitMasks, ImageList, Instances

from ..backbone import Backbone, build_backbone
from ..gt_classes import check_pixel_labels
from ..host_waits import numbers_on
from ..image_input import BatchedInputs, ImageInput, ModelOutput, output_size
from ..meta_arch import META_ARCH_REGISTRY, build_sem_seg_head
from ..postprocessing import sem_seg_postprocess
from .heads import build_ins_embed_branch
from .post_processing import Segmented, marked, segment_images

_VOID = -1
_TARGETS = (
    *("sem_seg", "center", "offset"),
    *("sem_seg_weights", "center_weights", "offset_weights"),
)


@META_ARCH_REGISTRY.register()
class PanopticDeepLab(ImageInput):
    """A backbone, and heads for the class, the centre and the offset of each pixel.

    Args:
        backbone: maps images to feature maps.
        sem_seg_head: see `PanopticDeepLabSemSegHead`.
        ins_embed_head: see `PanopticDeepLabInsEmbedHead`.
        thing_ids: classes that are things; None until they are set, see ``thing_ids``.
        label_divisor: see `get_panoptic_segmentation`.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.
        stuff_area, threshold, nms_kernel, top_k: see `get_panoptic_segmentation`.
        predict_instances: also return the things as instances.
        size_divisibility: images are padded to multiples of it; 0 or less takes the backbone's.
        benchmark_network_speed: inference returns nothing behind the heads.

    Attributes:
        thing_ids: classes that are things. A model of a config gets them from the dataset:
            ``model.thing_ids = metadata.thing_dataset_id_to_contiguous_id.values()``.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        ins_embed_head: nn.Module,
        thing_ids: Collection[int] | None = None,
        label_divisor: int = 1000,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        stuff_area: int = 2048,
        threshold: float = 0.1,
        nms_kernel: int = 7,
        top_k: int = 200,
        predict_instances: bool = True,
        size_divisibility: int = 0,
        benchmark_network_speed: bool = False,
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.sem_seg_head: Any = sem_seg_head
        self.ins_embed_head: Any = ins_embed_head
        self.thing_ids = thing_ids
        self.label_divisor = label_divisor
        self.stuff_area = stuff_area
        self.threshold = threshold
        self.nms_kernel = nms_kernel
        self.top_k = top_k
        self.predict_instances = predict_instances
        self.size_divisibility = size_divisibility
        self.benchmark_network_speed = benchmark_network_speed

    def forward(self, batched_inputs: BatchedInputs) -> ModelOutput:
        """Losses in training, segmentations otherwise.

        Args:
            batched_inputs: for each image a dict with

                * ``image``: (C, H, W) tensor;
                * in training ``sem_seg`` (H, W), ``center`` (H, W) and ``offset`` (2, H, W), and
                  ``sem_seg_weights`` (H, W), ``center_weights`` and ``offset_weights``
                  (1, H, W) or (H, W);
                * ``height``, ``width``: wanted output size, by default the image's.

        Returns:
            In training a dict of losses. Otherwise for each image ``sem_seg``, (K, height, width)
            logits; ``panoptic_seg``, a (height, width) map of ``class * label_divisor +
            instance`` (−1 for void) and None; and, if wanted and there are any, ``instances``
            with ``pred_classes``, ``pred_masks``, ``pred_boxes`` and ``scores``.

        Raises:
            ValueError: if something is missing or not of the image's size, a label is one that
                the head does not know, or in inference ``thing_ids`` is not set.
        """
        images = self._padded(self.normalized_images(batched_inputs), 0.0)
        features = self.backbone(images.tensor)
        if self.training:
            return self._losses(batched_inputs, features)
        logits, _ = self.sem_seg_head(features)
        centers, offsets, _, _ = self.ins_embed_head(features)
        if self.benchmark_network_speed:
            return []
        entries = zip(batched_inputs, images.image_sizes, strict=True)
        sizes = [output_size(*entry) for entry in entries]
        maps = [
            [
                sem_seg_postprocess(one, image_size, *size)
                for one, image_size, size in zip(of_images, images.image_sizes, sizes, strict=True)
            ]
            for of_images in (logits, centers, offsets)
        ]
        return self._results(*maps)

    def _losses(
        self, batched_inputs: BatchedInputs, features: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        def batch(name: str, padding: float = 0.0) -> Tensor:
            missing = [i for i, entry in enumerate(batched_inputs) if name not in entry]
            if missing:
                raise ValueError(
                    f"inputs {missing} have no {name!r}, which training wants: let "
                    "PanopticDeepLabTargetGenerator (d2_data) make it"
                )
            given = [self._move_to_current_device(entry[name]) for entry in batched_inputs]
            return self._padded(given, padding).tensor

        _check_sizes(batched_inputs)
        ignore_value = self.sem_seg_head.ignore_value
        num_classes = getattr(self.sem_seg_head, "num_classes", None)
        if num_classes is not None:
            given = [entry.get("sem_seg") for entry in batched_inputs]
            check_pixel_labels(given, num_classes, ignore_value)
        labels = batch("sem_seg", ignore_value).long()
        weights = batch("sem_seg_weights") if "sem_seg_weights" in batched_inputs[0] else None
        _, losses = self.sem_seg_head(features, labels, weights)
        _, _, center_losses, offset_losses = self.ins_embed_head(
            features,
            batch("center")[:, None],
            _with_channel(batch("center_weights")),
            batch("offset"),
            _with_channel(batch("offset_weights")),
        )
        return {**losses, **center_losses, **offset_losses}

    def _padded(self, tensors: Sequence[Tensor], value: float) -> ImageList:
        divisibility = self.size_divisibility
        if divisibility <= 0:
            divisibility = self.backbone.size_divisibility
        return ImageList.from_tensors(list(tensors), divisibility, value)

    @torch.no_grad()
    def _results(
        self, logits: list[Tensor], centers: list[Tensor], offsets: list[Tensor]
    ) -> list[dict[str, Any]]:
        """What `forward` returns. The host waits for the device twice."""
        if self.thing_ids is None:
            raise ValueError(
                "PanopticDeepLab does not know which classes are things: set its thing_ids, e.g. "
                "model.thing_ids = metadata.thing_dataset_id_to_contiguous_id.values()"
            )
        labels = torch.arange(len(logits[0]), device=logits[0].device)
        classes = [one.argmax(dim=0, keepdim=True) for one in logits]
        is_thing = marked(labels, self.thing_ids)
        segmented = segment_images(
            *(classes, [is_thing[one] for one in classes], centers, offsets, labels),
            *(is_thing, self.label_divisor, self.stuff_area, _VOID),
            *(self.threshold, self.nms_kernel, self.top_k),
        )
        results: list[dict[str, Any]] = [
            {"sem_seg": one, "panoptic_seg": (found.panoptic[0], None)}
            for one, found in zip(logits, segmented, strict=True)
        ]
        if self.predict_instances:
            for result, things, heat in zip(results, _things(segmented), centers, strict=True):
                if things:
                    result["instances"] = self._instances(result, things, heat)
        return results

    def _instances(
        self, result: dict[str, Any], things: list[tuple[int, int]], centers: Tensor
    ) -> Instances:
        """The things of a panoptic map, whose numbers and areas are known."""
        panoptic, probs = result["panoptic_seg"][0], result["sem_seg"].softmax(dim=0)
        masks = torch.stack([panoptic == number for number, _ in things])
        classes = [number // self.label_divisor for number, _ in things]
        scores = []
        for mask, label, (_, area) in zip(masks, classes, things, strict=True):
            places = torch.nonzero_static(mask, size=area)
            middle = places.float().mean(dim=0, keepdim=True).long()
            mean = probs[label][places.unbind(dim=1)].mean()
            scores.append(mean * centers[0][middle.unbind(dim=1)][0])
        return Instances(
            (panoptic.shape[0], panoptic.shape[1]),
            pred_classes=numbers_on(panoptic.device, classes, torch.int64),
            pred_masks=masks,
            scores=torch.stack(scores),
            pred_boxes=BitMasks(masks).get_bounding_boxes(),
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config."""
        options = cfg.MODEL.PANOPTIC_DEEPLAB
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, shapes),
            "ins_embed_head": build_ins_embed_branch(cfg, shapes),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "stuff_area": options.STUFF_AREA,
            "threshold": options.CENTER_THRESHOLD,
            "nms_kernel": options.NMS_KERNEL,
            "top_k": options.TOP_K_INSTANCE,
            "predict_instances": options.PREDICT_INSTANCES,
            "size_divisibility": options.SIZE_DIVISIBILITY,
            "benchmark_network_speed": options.BENCHMARK_NETWORK_SPEED,
        }


def _things(segmented: Sequence[Segmented]) -> list[list[tuple[int, int]]]:
    """For each image the numbers and areas of its instances, by number, read in one go."""
    if not segmented:
        return []
    pairs = [torch.stack([image.numbers, image.areas], dim=1) for image in segmented]
    known = iter(torch.cat(pairs).tolist())
    of_images = [list(itertools.islice(known, len(image))) for image in pairs]
    return [sorted((number, area) for number, area in image if area) for image in of_images]


def _check_sizes(batched_inputs: BatchedInputs) -> None:
    """Require that the targets of every image have its size."""
    for index, entry in enumerate(batched_inputs):
        size = tuple(entry["image"].shape[-2:])
        for name in _TARGETS:
            if name in entry and tuple(entry[name].shape[-2:]) != size:
                raise ValueError(
                    f"input {index} wants {name!r} of the image's size {size}, got "
                    f"{tuple(entry[name].shape)}"
                )


def _with_channel(maps: Tensor) -> Tensor:
    """(N, H, W) as (N, 1, H, W)."""
    return maps[:, None] if maps.dim() == 3 else maps
