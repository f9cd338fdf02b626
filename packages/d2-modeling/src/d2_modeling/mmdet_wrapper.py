"""Backbones and detectors of mmdetection (versions 2 and 3) under our interfaces."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_structures import BitMasks, Boxes, ImageList, Instances

from .backbone import Backbone
from .events import active_event_storage
from .image_input import BatchedInputs, ImageInput, ModelOutput
from .layers import ShapeSpec


class MMDetBackbone(Backbone):
    """A backbone of mmdetection, whose outputs get names.

    Args:
        backbone: a module that maps images (N, C, H, W) to a sequence of feature maps, or
            mmdetection's config of one.
        neck: a module that maps that sequence to another one, or mmdetection's config of one;
            None for no neck.
        pretrained_backbone: where the backbone's ``init_weights`` takes its weights from, e.g.
            ``"torchvision://resnet50"``.
        output_shapes: shape of each output; detectors need channels and strides.
        output_names: their names; by default ``"out0"``, ``"out1"`` …

    Raises:
        ImportError: if a config is given and mmdetection is not installed.
        ValueError: if there are not as many names as shapes.
    """

    def __init__(
        self,
        backbone: nn.Module | Mapping[str, Any],
        neck: nn.Module | Mapping[str, Any] | None = None,
        *,
        pretrained_backbone: str | None = None,
        output_shapes: Sequence[ShapeSpec],
        output_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        names = output_names or [f"out{index}" for index in range(len(output_shapes))]
        if len(names) != len(output_shapes):
            raise ValueError(f"{len(names)} output_names for {len(output_shapes)} output_shapes")
        self.backbone: nn.Module = _module(backbone, "build_backbone")
        self.neck: nn.Module | None = None if neck is None else _module(neck, "build_neck")
        self._output_shapes = dict(zip(names, output_shapes, strict=True))
        _initialize(self.backbone, pretrained_backbone)
        # Some backbones freeze their first stages in train().
        self.backbone.train()
        if self.neck is not None:
            for part in self.neck if isinstance(self.neck, nn.Sequential) else [self.neck]:
                _initialize(part)
            self.neck.train()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to feature maps by name.

        Raises:
            ValueError: if the backbone does not give as many as it has shapes.
        """
        outputs = self.backbone(x)
        if self.neck is not None:
            outputs = self.neck(outputs)
        names = list(self._output_shapes)
        if not isinstance(outputs, (list, tuple)) or len(outputs) != len(names):
            got = len(outputs) if isinstance(outputs, (list, tuple)) else type(outputs).__name__
            raise ValueError(f"the backbone has {len(names)} output_shapes, but gave {got} outputs")
        return dict(zip(names, outputs, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """The given shapes by name."""
        return dict(self._output_shapes)


class MMDetDetector(ImageInput):
    """A detector of mmdetection that takes and gives what our models do.

    Args:
        detector: a module with ``loss`` and ``predict`` (version 3), or with ``forward_train``
            and ``simple_test`` (version 2), or mmdetection's config of one, whose weights are
            then those that it says.
        size_divisibility: images are padded to multiples of it.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.

    Raises:
        ImportError: if a config is given and mmdetection is not installed.
    """

    def __init__(
        self,
        detector: nn.Module | Mapping[str, Any],
        *,
        size_divisibility: int = 32,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        built: Any = _module(detector, "build_detector")
        if isinstance(detector, Mapping) and not _takes_pretrained(built):
            built.init_weights()  # earlier ones have done it when they were made
        self.detector: Any = built
        self.size_divisibility = size_divisibility

    def forward(self, batched_inputs: BatchedInputs) -> ModelOutput:
        """Losses in training, detections otherwise.

        Args:
            batched_inputs: see `GeneralizedRCNN.forward`.

        Returns:
            In training a dict of losses. Otherwise for each image ``{"instances": ...}`` with
            ``pred_boxes``, ``scores``, ``pred_classes`` and maybe ``pred_masks``.

        Raises:
            ValueError: if ``image``, or in training ``instances``, is missing, or some inputs
                have ``height`` and ``width`` and some have not.
        """
        images = ImageList.from_tensors(
            self.normalized_images(batched_inputs), self.size_divisibility
        )
        given = {"height" in entry for entry in batched_inputs}
        if len(given) > 1:
            raise ValueError("some inputs have height and width, the others of the batch do not")
        padded = (int(images.tensor.shape[2]), int(images.tensor.shape[3]))
        metas = [_image_meta(entry, padded) for entry in batched_inputs]
        if self.training:
            return self._losses(batched_inputs, images.tensor, metas)
        rescale = given == {True}
        if hasattr(self.detector, "simple_test"):
            arrays = self.detector.simple_test(images.tensor, metas, rescale=rescale)
            found = [_instances(*pair) for pair in zip(arrays, metas, strict=True)]
        else:
            samples = self.detector.predict(images.tensor, _samples(metas), rescale=rescale)
            found = [_instances_of_sample(*pair) for pair in zip(samples, metas, strict=True)]
        return [{"instances": instances} for instances in found]

    def _losses(
        self, batched_inputs: BatchedInputs, images: Tensor, metas: list[dict[str, Any]]
    ) -> dict[str, Tensor]:
        gt_instances = self.instances_of(batched_inputs, "instances")
        if gt_instances is None:
            raise ValueError("training inputs need 'instances' with the ground truth")
        if not hasattr(self.detector, "forward_train"):
            return _split_losses(self.detector.loss(images, _samples(metas, gt_instances)))
        masks: dict[str, Any] = {}
        if gt_instances and gt_instances[0].has("gt_masks"):
            masks["gt_masks"] = [
                _mmdet_masks(gt, images.shape[2:], "mmdet.core") for gt in gt_instances
            ]
        losses = self.detector.forward_train(
            images,
            metas,
            [gt.gt_boxes.tensor for gt in gt_instances],
            [gt.gt_classes for gt in gt_instances],
            **masks,
        )
        return _split_losses(losses)


def _initialize(module: Any, pretrained: str | None = None) -> None:
    """Let a module fill its weights as its version of mmdetection does."""
    if _takes_pretrained(module):
        module.init_weights(pretrained)
        return
    if pretrained is not None:
        module.init_cfg = {"type": "Pretrained", "checkpoint": pretrained}
    module.init_weights()


def _takes_pretrained(module: Any) -> bool:
    """Whether it is told where weights are, as before version 2.11, or has ``init_cfg``."""
    return bool(inspect.signature(module.init_weights).parameters)


def _image_meta(entry: Mapping[str, Any], padded: tuple[int, int]) -> dict[str, Any]:
    """What mmdetection wants to know about an image."""
    channels, height, width = entry["image"].shape
    size = (int(entry.get("height", height)), int(entry.get("width", width)))
    scale = (width / size[1], height / size[0])
    return {
        "img_shape": (height, width, channels),
        "ori_shape": (*size, channels),
        "pad_shape": (*padded, channels),
        "scale_factor": np.array([*scale, *scale], dtype=np.float32),
        "flip": False,
    }


def _samples(
    metas: Sequence[Mapping[str, Any]], gt_instances: Sequence[Instances] | None = None
) -> list[Any]:
    """What version 3 wants to know about images, and in training their ground truth."""
    sample_class = _mmdet("mmdet.structures").DetDataSample
    samples = []
    for index, meta in enumerate(metas):
        padded = meta["pad_shape"][:2]
        known = {name: meta[name][:2] for name in ("img_shape", "ori_shape", "pad_shape")}
        scale = tuple(meta["scale_factor"][:2].tolist())
        sample = sample_class(
            metainfo={**meta, **known, "scale_factor": scale, "batch_input_shape": padded}
        )
        if gt_instances is not None:
            gt = gt_instances[index]
            fields = {"bboxes": gt.gt_boxes.tensor, "labels": gt.gt_classes}
            if gt.has("gt_masks"):
                fields["masks"] = _mmdet_masks(gt, padded, "mmdet.structures.mask")
            sample.gt_instances = _mmdet("mmengine.structures").InstanceData(**fields)
        samples.append(sample)
    return samples


def _instances_of_sample(sample: Any, meta: Mapping[str, Any]) -> Instances:
    """Detections out of what version 3 gives."""
    found = sample.pred_instances
    boxes = getattr(found.bboxes, "tensor", found.bboxes)
    instances = Instances(
        meta["ori_shape"][:2],
        pred_boxes=Boxes(boxes),
        scores=found.scores,
        pred_classes=found.labels,
    )
    if "masks" in found:
        instances.pred_masks = found.masks.to(torch.bool)  # of none they are numbers
    return instances


def _instances(
    result: Sequence[Any] | tuple[Sequence[Any], Any], meta: Mapping[str, Any]
) -> Instances:
    """Detections out of version 2's lists of arrays (x1, y1, x2, y2, score) per class."""
    size = meta["ori_shape"][:2]
    masks = None
    if isinstance(result, tuple):
        result, masks = result
        masks = masks[0] if isinstance(masks, tuple) else masks
    rows = torch.from_numpy(np.vstack(result)).float()
    counts = torch.tensor([len(of_class) for of_class in result])
    instances = Instances(
        size,
        pred_boxes=Boxes(rows[:, :4]),
        scores=rows[:, 4],
        pred_classes=torch.repeat_interleave(torch.arange(len(result)), counts),
    )
    if masks is not None:
        joined = [torch.as_tensor(mask) for mask in itertools.chain.from_iterable(masks)]
        instances.pred_masks = (
            torch.stack(joined) if joined else torch.zeros(0, *size, dtype=torch.bool)
        )
    return instances


def _mmdet_masks(gt: Instances, size: Sequence[int], home: str) -> Any:
    """The masks of the ground truth, padded to a size, as classes of the module ``home``."""
    structures = _mmdet(home)
    masks = gt.gt_masks
    if isinstance(masks, BitMasks):
        down, right = (
            wanted - got for wanted, got in zip(size, masks.tensor.shape[1:], strict=True)
        )
        padded = F.pad(masks.tensor.to(torch.uint8), (0, right, 0, down))
        return structures.BitmapMasks(padded.cpu().numpy(), *size)
    return structures.PolygonMasks([list(polygons) for polygons in masks.polygons], *size)


def _split_losses(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Losses, their parts summed; whatever is no loss goes to the event storage."""
    losses: dict[str, Tensor] = {}
    storage = active_event_storage()
    for name, value in values.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        total = torch.stack([part.mean() for part in parts]).sum()
        if "loss" in name:
            losses[name] = total
        elif storage is not None:
            storage.put_scalar(name, total.detach())
    return losses


def _module(module: nn.Module | Mapping[str, Any], builder: str) -> nn.Module:
    if isinstance(module, nn.Module):
        return module
    config = _plain(module)
    built: nn.Module
    if int(_mmdet("mmdet").__version__.split(".")[0]) < 3:
        build = getattr(_mmdet("mmdet.models"), builder)
        built = build(_mmdet("mmcv").ConfigDict(config))
    else:
        config = _mmdet("mmengine.config").ConfigDict(_of_version_3(config))
        built = _mmdet("mmdet.registry").MODELS.build(config)
    return built


def _of_version_3(config: dict[str, Any]) -> dict[str, Any]:
    """A config whose ``pretrained``, of version 2, is its backbone's ``init_cfg``."""
    if "backbone" not in config or "pretrained" not in config:
        return config
    others = {key: value for key, value in config.items() if key != "pretrained"}
    if config["pretrained"] is not None:
        saved = {"type": "Pretrained", "checkpoint": config["pretrained"]}
        others["backbone"] = {**config["backbone"], "init_cfg": saved}
    return others


def _plain(value: Any) -> Any:
    """Dicts and lists instead of a config's nodes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _mmdet(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"mmdetection's configs and masks need {name}, which cannot be imported: {error}. "
            "Install mmdetection 3: pip install 'mmdet>=3' 'mmcv>=2,<2.2'"
        ) from error
