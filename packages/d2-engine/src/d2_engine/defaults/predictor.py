"""One image in, its predictions out."""

import copy
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig
from torch import nn

from d2_config import CfgNode, instantiate
from d2_data import Metadata, MetadataCatalog
from d2_data.detection_utils import build_augmentation
from d2_data.transforms import AugInput, AugmentationList
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.dataset_classes import check_num_classes_known, metadata_of
from d2_engine.devices import choose_device
from d2_modeling import build_model


class DefaultPredictor:
    """Run a trained model on single images.

    It loads the weights that the config names, takes images in BGR order, converts them to the
    model's channel order, and resizes them as for testing. For anything else (batches, other
    preprocessing) use the model directly.

    Args:
        cfg: a lazy config with ``model``, ``dataloader.test`` and ``train``, whose weights are
            ``train.init_checkpoint``, or a yacs-style config, whose weights are
            ``MODEL.WEIGHTS``. It is not changed.

    Attributes:
        metadata (Metadata): of the test dataset, where the config has its name; else empty.
        model: the model, in evaluation mode.

    Raises:
        TypeError: if ``cfg`` is neither.
        ValueError: if the checkpoint lacks weights of the model, as that of a backbone does,
            or the config leaves the number of classes to the training data.

    Example:
        >>> predictor = DefaultPredictor(cfg)
        >>> outputs = predictor(image_bgr)
        >>> outputs["instances"].pred_boxes
    """

    def __init__(self, cfg: DictConfig | CfgNode) -> None:
        parts = _parts_of_yacs(cfg) if isinstance(cfg, CfgNode) else _parts_of_lazy(cfg)
        self.cfg: Any = copy.deepcopy(cfg)
        self.model: Any = parts.model.eval()
        DetectionCheckpointer(self.model).load(parts.weights, strict=True)
        self.metadata = parts.metadata
        self.aug = parts.aug
        self.input_format = parts.image_format
        if self.input_format not in ("RGB", "BGR"):
            raise ValueError(
                f"DefaultPredictor takes colour images; image_format is {self.input_format!r}"
            )

    def __call__(self, original_image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Predict on one image.

        Args:
            original_image: (H, W, 3), BGR.

        Returns:
            The model's output for this image, e.g. ``"instances"`` in the size (H, W).

        Raises:
            ValueError: if the image has another shape.
        """
        if original_image.ndim != 3 or original_image.shape[2] != 3:
            raise ValueError(f"the image must be (H, W, 3), got {original_image.shape}")
        height, width = original_image.shape[:2]
        image = original_image[:, :, ::-1] if self.input_format == "RGB" else original_image
        augmented = AugInput(np.ascontiguousarray(image))
        self.aug(augmented)
        tensor = torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
        inputs = {"image": tensor, "height": height, "width": width}
        with torch.inference_mode():
            outputs: dict[str, Any] = self.model([inputs])[0]
        return outputs


class _Parts(NamedTuple):
    """What a config says about predicting."""

    model: nn.Module
    weights: str
    metadata: Metadata
    aug: AugmentationList
    image_format: str


def _parts_of_lazy(cfg: Any) -> _Parts:
    if not isinstance(cfg, DictConfig) or "model" not in cfg:
        raise TypeError(
            "DefaultPredictor wants a lazy config with model, dataloader and train, or a "
            f"yacs-style config, got {type(cfg).__name__}"
        )
    check_num_classes_known(cfg)
    test = cfg.dataloader.test
    # A call gives a dataset that declares its classes once it is loaded, if it is there.
    called = isinstance(test.get("dataset", {}).get("names"), DictConfig)
    return _Parts(
        model=instantiate(cfg.model).to(choose_device(cfg.train.device)),
        weights=cfg.train.init_checkpoint,
        metadata=Metadata() if called else metadata_of(test),
        aug=AugmentationList(instantiate(test.mapper.augmentations)),
        image_format=test.mapper.image_format,
    )


def _parts_of_yacs(cfg: CfgNode) -> _Parts:
    names = cfg.DATASETS.TEST
    return _Parts(
        model=build_model(cfg),
        weights=cfg.MODEL.WEIGHTS,
        metadata=MetadataCatalog.get(names[0]) if names else Metadata(),
        aug=AugmentationList(build_augmentation(cfg, is_train=False)),
        image_format=cfg.INPUT.FORMAT,
    )
