"""A mapper that mixes each sample with others of its dataset."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from d2_data.list_dataset import DatasetFromList
from d2_data.located_errors import located
from d2_data.mapped_dataset import MapDataset
from d2_data.mixing.geometry import moved
from d2_data.mixing.mix import Mix, Sample
from d2_data.skipped_records import OnError, SkippedRecord
from d2_data.transforms import AugInput, Augmentation, AugmentationList, Transform

__all__ = ["MixingMapper"]


class MixingMapper:
    """A mapper round another one, that mixes what it returns with further samples.

    The train loader gives it the dataset to draw from. As loaders seed NumPy's global generator for
    each sample, what is drawn depends on the run's seed and the sample's place alone: not on the
    number of workers, and a resumed loader goes on with the same mixtures.

    Args:
        mapper: takes a dataset dict, returns what a model trains on, as :class:`DatasetMapper`.
            Its augmentations are applied to each sample before they are mixed.
        mixes: :class:`Mosaic`, :class:`MixUp`, :class:`CopyPaste` and other :class:`Mix`, applied
            in turn. The samples that they draw come from the mapper, unmixed.
        dataset: list of dicts, or map-style dataset, to draw from; the loader's own when None.
            Needed where the loader reads an iterable dataset, or where the mapper is used alone.
        augmentations: policies and transforms that are applied to the mixed samples. They are
            given the image, boxes and semantic labels.
        keypoint_hflip_indices: see
            :func:`~d2_data.detection_utils.create_keypoint_hflip_indices`; needed where
            ``augmentations`` mirror pictures with keypoints.

    Example:
        >>> mapper = MixingMapper(
        ...     DatasetMapper(cfg, is_train=True), [Mosaic((640, 640), prob=0.5), MixUp(prob=0.1)]
        ... )
        >>> loader = build_detection_train_loader(cfg, mapper=mapper)
    """

    def __init__(
        self,
        mapper: Callable[[Any], Any],
        mixes: Sequence[Mix],
        *,
        dataset: Any = None,
        augmentations: Sequence[Augmentation | Transform] = (),
        keypoint_hflip_indices: Sequence[int] | None = None,
    ) -> None:
        for mix in mixes:
            if not isinstance(mix, Mix):
                raise TypeError(f"MixingMapper: mixes hold Mosaic, MixUp and such, got {mix!r}")
        self.mixes = list(mixes)
        self.augmentations = AugmentationList(augmentations)
        self.keypoint_hflip_indices = keypoint_hflip_indices
        self._bind(mapper, None if dataset is None else _source(dataset), "raise")

    def _bind(self, mapper: Callable[[Any], Any], source: Any, on_error: OnError) -> None:
        self.mapper = mapper
        self._source, self._on_error = source, on_error
        self._partners = None if source is None else MapDataset(source, mapper, on_error)

    @property
    def skipped(self) -> list[SkippedRecord]:
        """What was left out so far by all loading processes because it could not be loaded."""
        if self._partners is not None:
            return self._partners.skipped  # those of the mapper itself are among them
        return list(getattr(self.mapper, "skipped", None) or ())

    def suited_to(self, records: Any) -> "MixingMapper":
        """With the mapper that suits a dataset: see :meth:`DatasetMapper.suited_to`."""
        if not hasattr(self.mapper, "suited_to"):
            return self
        suited = copy.copy(self)
        suited._bind(self.mapper.suited_to(records), self._source, self._on_error)
        return suited

    def drawing_from(self, dataset: Any, on_error: OnError = "raise") -> "MixingMapper":
        """The mapper that draws further samples from a dataset, unless it was made with one.

        Args:
            dataset: list of dicts, or map-style dataset.
            on_error: ``"raise"`` what cannot be loaded, or ``"skip"`` it and draw another.

        Raises:
            TypeError: if the dataset is iterable: its samples have no indices to draw.
        """
        if self._source is not None:
            return self
        drawing = copy.copy(self)
        drawing._bind(self.mapper, _source(dataset), on_error)
        return drawing

    def __call__(self, dataset_dict: Any) -> Any:
        """Map a dict, and mix the sample with others.

        Args:
            dataset_dict: what the mapper takes; stays as it is.

        Returns:
            What the mapper returns, mixed; None where it returns None.

        Raises:
            ValueError: if there is no dataset to draw from.
        """
        sample = self.mapper(dataset_dict)
        if sample is None:
            return None
        for mix in self.mixes:
            sample = mix(sample, self._draw)
        return self._augmented(sample) if self.augmentations.augs else sample

    def _draw(self) -> Sample:
        if self._partners is None:
            raise ValueError(
                "MixingMapper has no dataset to draw further samples from: give it to a train "
                "loader, or construct it with dataset="
            )
        index = int(np.random.randint(len(self._partners)))
        with located("the sample drawn to be mixed in"):
            sample: Sample = self._partners[index]
        return sample

    def _augmented(self, sample: Sample) -> Sample:
        instances = sample.get("instances")
        boxes = None
        if instances is not None and instances.has("gt_boxes"):
            boxes = instances.gt_boxes.tensor.numpy()
        labels = sample.get("sem_seg")
        given = AugInput(
            sample["image"].permute(1, 2, 0).numpy(),
            boxes=boxes if boxes is not None and boxes.shape[1] == 4 else None,
            sem_seg=None if labels is None else labels.numpy(),
        )
        transforms = self.augmentations(given)
        return moved(sample, transforms, self.keypoint_hflip_indices, given.image)

    def __repr__(self) -> str:
        return f"MixingMapper({self.mixes!r}, round {type(self.mapper).__name__})"


def _source(dataset: Any) -> Any:
    """A dataset whose elements have indices."""
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"MixingMapper draws further samples by their index, which the elements of an iterable "
            f"dataset ({type(dataset).__name__}) do not have: construct it with dataset=, a list "
            "or map-style dataset to draw from"
        )
    if isinstance(dataset, list):
        return DatasetFromList(dataset, copy=False)
    return dataset
