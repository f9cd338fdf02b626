"""Which models' detections can be merged, and how the models select them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from d2_engine.test_time_augmentation.mapper import DatasetDict
from d2_modeling import GeneralizedRCNN, PanopticFPN

Mapper = Callable[[DatasetDict], list[DatasetDict]]
"""Makes of a model's input for one image the inputs for its versions."""

PRECOMPUTED_PROPOSALS = "test-time augmentation cannot move precomputed proposals with the image"
NO_FLIP_INDICES = (
    "keypoints found in mirrored versions need keypoint_flip_indices, which exchange left and "
    "right: create_keypoint_hflip_indices(dataset_names) makes them; or set flip=False"
)


def supported_model(model: nn.Module) -> GeneralizedRCNN:
    """The model without its wrapper, if its detections can be merged.

    Raises:
        TypeError: if it has no ROI heads that look at given boxes, its boxes are rotated, or it
            gives more than instances.
        ValueError: if it takes precomputed proposals.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    kind = type(model).__name__
    if not isinstance(model, GeneralizedRCNN):
        raise TypeError(
            "test-time augmentation is for GeneralizedRCNN, whose ROI heads look again at merged "
            f"boxes, got a model of class {kind}; evaluate it without (TEST.AUG.ENABLED=False)"
        )
    if isinstance(model, PanopticFPN):
        raise TypeError(
            "test-time augmentation merges instances, not the segmentations of a model of class "
            f"{kind}; evaluate it without (TEST.AUG.ENABLED=False)"
        )
    if model.proposal_generator is None:
        raise ValueError(f"{PRECOMPUTED_PROPOSALS}; give the model a proposal_generator")
    Selection.of(model.roi_heads)
    predictors = model.roi_heads.box_predictor
    for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
        if getattr(predictor, "box_dim", 4) != 4:
            raise TypeError(
                "test-time augmentation cannot merge rotated boxes, which ROI heads of class "
                f"{type(model.roi_heads).__name__} predict; evaluate the model without "
                "(TEST.AUG.ENABLED=False)"
            )
    return model


def mirrors_keypoints(model: GeneralizedRCNN, tta_mapper: Mapper) -> bool:
    """Whether it may be that keypoints are found in mirrored versions."""
    return getattr(model.roi_heads, "keypoint_on", False) and getattr(tta_mapper, "flip", True)


def check_flip_indices(indices: Sequence[int], model: GeneralizedRCNN) -> None:
    """Require one index for each keypoint of the model, which exchange keypoints in pairs.

    Raises:
        ValueError: if they do not.
    """
    head = getattr(model.roi_heads, "keypoint_head", None)
    count = getattr(head, "num_keypoints", len(indices))
    if len(indices) != count:
        raise ValueError(
            f"keypoint_flip_indices has {len(indices)} values, the model finds {count} keypoints"
        )
    if sorted(indices) != list(range(count)) or any(
        indices[other] != index for index, other in enumerate(indices)
    ):
        raise ValueError(
            f"keypoint_flip_indices must exchange 0 to {count - 1} in pairs, got {list(indices)}"
        )


class Selection(NamedTuple):
    """How ROI heads choose detections."""

    num_classes: int
    nms_thresh: float
    topk: int

    @classmethod
    def of(cls, heads: Any) -> "Selection":
        """Read it off the predictor, the last one of a cascade."""
        predictor: Any = getattr(heads, "box_predictor", None)
        if isinstance(predictor, nn.ModuleList):
            predictor = predictor[-1]
        try:
            return cls(heads.num_classes, predictor.test_nms_thresh, predictor.test_topk_per_image)
        except AttributeError as error:
            raise TypeError(
                "test-time augmentation needs ROI heads with num_classes and a box_predictor with "
                f"test_nms_thresh and test_topk_per_image; {type(heads).__name__}: {error}"
            ) from error
