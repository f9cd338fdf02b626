"""One image in, its predictions out."""

import copy
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from d2_data import Metadata
from d2_data.detection_utils import image_to_tensor
from d2_data.transforms import AugInput
from d2_engine.checkpoint import DetectionCheckpointer
from d2_eval import inference_context
from d2_modeling import optimize_for_inference

if TYPE_CHECKING:  # d2_engine.run draws its report with this class
    from d2_engine.run import Preprocessing, RunPlan

_FORMATS = ("BGR", "RGB")


class DefaultPredictor:
    """Run a trained model on single images.

    It loads the weights that the config names, takes images in BGR order, converts them to the
    model's channel order, and resizes them as for testing. For anything else (batches, other
    preprocessing) use the model directly.

    Args:
        cfg: a yacs-style config, whose weights are ``MODEL.WEIGHTS``, or a lazy one with
            ``model``, ``dataloader.test`` and ``train``, whose weights are
            ``train.init_checkpoint``. It is not changed.

    Attributes:
        metadata (Metadata): of the data that a run has learned from, else of the first test set,
            else of the training data; empty where the config names none.
        model: the model, in evaluation mode and made fast by
            :func:`d2_modeling.optimize_for_inference`.
        aug: makes the model's input from an image.
        input_format: the order of the model's channels, ``"BGR"`` or ``"RGB"``.
        cfg: a copy of the config; None where there was none.

    Raises:
        TypeError: if ``cfg`` is neither.
        ValueError: if the checkpoint lacks weights of the model, as that of a backbone does,
            the config leaves the number of classes to the training data, or its test data is
            not made of single colour images.

    Example:
        >>> predictor = DefaultPredictor(cfg)
        >>> outputs = predictor(image_bgr)
        >>> outputs["instances"].pred_boxes
    """

    cfg: Any

    def __init__(self, cfg: Any) -> None:
        from d2_engine.run import from_config

        self._set_up_from(from_config(cfg))
        self.cfg = copy.deepcopy(cfg)

    @classmethod
    def of_plan(cls, plan: "RunPlan") -> Self:
        """Return the predictor of a plan: its model with its weights.

        Raises:
            ValueError: as the class says.
        """
        predictor = cls.__new__(cls)
        predictor._set_up_from(plan)
        return predictor

    @classmethod
    def of(
        cls, model: nn.Module, preprocessing: "Preprocessing", metadata: Metadata | None = None
    ) -> Self:
        """Return the predictor of a model that is there already.

        Args:
            model: with its weights; its mode is kept.
            preprocessing: how an image becomes what it takes.
            metadata: of the data that it is for.

        Raises:
            ValueError: if the model does not take colour images.
        """
        predictor = cls.__new__(cls)
        predictor._set_up(model, preprocessing, metadata)
        return predictor

    def _set_up_from(self, plan: "RunPlan") -> None:
        from d2_engine.run.classes import check_counts_known
        from d2_engine.run.model import build_model

        check_counts_known(plan.counts)
        if plan.preprocessing is None:
            raise ValueError(
                "the config does not say how an image becomes the model's input: its "
                f"{plan.settings.called('test_names')} has no mapper with augmentations and "
                "image_format; make the predictor by DefaultPredictor.of(model, preprocessing)"
            )
        model = build_model(plan).eval()
        DetectionCheckpointer(model).load(plan.weights, strict=True, prefer_ema=True)
        model = optimize_for_inference(model, inplace=True)
        self._set_up(model, plan.preprocessing, _metadata_of(plan))

    def _set_up(
        self, model: nn.Module, preprocessing: "Preprocessing", metadata: Metadata | None
    ) -> None:
        self.cfg = None
        self.model: Any = model
        self.metadata = Metadata() if metadata is None else metadata
        self.input_format = preprocessing.image_format
        if self.input_format not in _FORMATS:
            raise ValueError(
                f"DefaultPredictor takes colour images; image_format is {self.input_format!r}"
            )
        self.aug = preprocessing.augmentations()

    def __call__(self, original_image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Predict on one image.

        Args:
            original_image: (H, W, 3) uint8, BGR, of any strides.

        Returns:
            The model's output for this image, e.g. ``"instances"`` in the size (H, W).

        Raises:
            TypeError: if it is no array of uint8.
            ValueError: if it has another shape, or there is no image.
        """
        image = _checked(original_image)
        height, width = image.shape[:2]
        augmented = AugInput(image[:, :, ::-1] if self.input_format == "RGB" else image)
        self.aug(augmented)
        tensor = image_to_tensor(augmented.image)
        inputs = {"image": tensor, "height": height, "width": width}
        mode = inference_context(self.model) if self.model.training else nullcontext()
        with torch.inference_mode(), mode:
            outputs: dict[str, Any] = self.model([inputs])[0]
        return outputs


def _metadata_of(plan: "RunPlan") -> Metadata:
    """Scripts for prediction name their data as test data, whatever a base config trains on."""
    if plan.learned is None and plan.test_sets and plan.test_sets[0].datasets:
        return plan.test_sets[0].metadata
    return plan.metadata


def _checked(image: Any) -> npt.NDArray[np.uint8]:
    """Refuse what is no colour image of bytes, and say what it may be instead."""
    if image is None:
        raise ValueError(
            "there is no image, but None: the file could not be read? cv2.imread returns None for "
            "a path that does not exist"
        )
    if isinstance(image, (str, os.PathLike)):
        raise TypeError(
            f"wanted an image, got the path {os.fspath(image)!r}: read it first, by "
            'd2_data.detection_utils.read_image(path, format="BGR") or cv2.imread(path)'
        )
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"wanted an image as a NumPy array (H, W, 3), BGR, got {type(image).__name__}"
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"the image must be (H, W, 3), got {image.shape}{_remedy(image.shape)}")
    if image.dtype != np.uint8:
        raise TypeError(
            f"the image must be uint8, 0 to 255, got {image.dtype}: convert it, by "
            "(255 * image).round().astype(np.uint8) if its values are 0 to 1"
        )
    return image


def _remedy(shape: tuple[int, ...]) -> str:
    if len(shape) == 2 or shape[2:] == (1,):
        return ", a grey image: repeat its channel, by np.repeat(image.reshape(H, W, 1), 3, axis=2)"
    if shape[2:] == (4,):
        return ", an image with transparency: leave that out, by image[:, :, :3]"
    if len(shape) == 3 and shape[0] == 3:
        return ": move the channels last, by image.transpose(1, 2, 0)"
    if len(shape) == 4:
        return ": one image at a time, without the axis of a batch"
    return ""
