"""Panoptic quality.

Source: Kirillov et al., "Panoptic Segmentation", 2019, section 4, with the treatment of void and of
crowds of COCO's panopticapi.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import numpy as np

from d2_ops.host import panoptic_intersections

VOID = 0
"""The id of pixels that belong to no segment."""


class Quality(NamedTuple):
    """Averages over categories, as fractions; NaN where no category has a segment.

    Attributes:
        pq: panoptic quality, for one category the product of the other two.
        sq: segmentation quality, the mean IoU of matched segments.
        rq: recognition quality, an F1 score.
    """

    pq: float
    sq: float
    rq: float


@attrs.define
class _Counts:
    iou: float = 0.0
    matched: int = 0
    only_predicted: int = 0
    only_annotated: int = 0

    def quality(self) -> Quality | None:
        weight = self.matched + 0.5 * self.only_predicted + 0.5 * self.only_annotated
        if weight == 0:
            return None
        sq = self.iou / self.matched if self.matched else 0.0
        return Quality(self.iou / weight, sq, self.matched / weight)


class PanopticQuality:
    """Sums up images.

    Args:
        categories: the dataset's ids of the categories that count.
    """

    def __init__(self, categories: Sequence[int]) -> None:
        self._counts = {category: _Counts() for category in categories}

    def add(
        self,
        truth_ids: np.ndarray,
        truth_segments: Sequence[Mapping[str, Any]],
        predicted_ids: np.ndarray,
        predicted_segments: Sequence[Mapping[str, Any]],
        where: str,
    ) -> None:
        """Match the segments of one image: those of one category with an IoU above a half.

        Args:
            truth_ids: (H, W) int, the id of each pixel's segment; 0 is void.
            truth_segments: dicts of ``id``, ``category_id``, and optionally ``area`` (by default
                the pixels) and ``iscrowd``.
            predicted_ids: (H, W) int.
            predicted_segments: dicts of ``id`` and ``category_id``.
            where: names the image in errors.

        Raises:
            ValueError: if sizes differ, a predicted pixel has an id without a segment, a segment
                has no pixels, or a predicted category is unknown.
        """
        if truth_ids.shape != predicted_ids.shape:
            raise ValueError(
                f"{where}: annotated are {truth_ids.shape} pixels, predicted "
                f"{predicted_ids.shape}; predict in the size of the annotated image"
            )
        image = _Image.of(truth_ids, truth_segments, predicted_ids, predicted_segments)
        self._check_predictions(image, where)
        matched_truths, matched_predictions = self._match(image)
        crowds = {}
        for number, segment in image.truths.items():
            if segment.get("iscrowd"):
                crowds[segment["category_id"]] = number
            elif number not in matched_truths and segment["category_id"] in self._counts:
                self._counts[segment["category_id"]].only_annotated += 1
        for number, segment in image.predictions.items():
            if number in matched_predictions:
                continue
            excused = image.shared(VOID, number)
            if segment["category_id"] in crowds:
                excused += image.shared(crowds[segment["category_id"]], number)
            if not excused / image.predicted_areas[number] > 0.5:
                self._counts[segment["category_id"]].only_predicted += 1

    def of_category(self, category: int) -> Quality:
        """The quality of one category, NaN where it has no segment."""
        return self._counts[category].quality() or Quality(np.nan, np.nan, np.nan)

    def average(self, categories: Sequence[int] | None = None) -> Quality:
        """The mean over those of the categories that have segments; None averages all."""
        chosen = self._counts if categories is None else categories
        present = [quality for c in chosen if (quality := self._counts[c].quality())]
        if not present:
            return Quality(np.nan, np.nan, np.nan)
        return Quality(*(sum(values) / len(present) for values in zip(*present, strict=True)))

    def _check_predictions(self, image: _Image, where: str) -> None:
        undescribed = set(image.predicted_areas) - set(image.predictions) - {VOID}
        if undescribed:
            raise ValueError(
                f"{where}: no segment describes the predicted ids {undescribed}; add them to "
                f"segments_info, or give their pixels the id {VOID}, which is void"
            )
        absent = set(image.predictions) - set(image.predicted_areas)
        if absent:
            raise ValueError(
                f"{where}: the predicted segments {absent} have no pixels; take them out of "
                "segments_info"
            )
        unknown = {s["category_id"] for s in image.predictions.values()} - set(self._counts)
        if unknown:
            raise ValueError(
                f"{where}: unknown categories {unknown} are predicted; known are "
                f"{list(self._counts)[:12]}…: write the dataset's ids, not the model's own"
            )

    def _match(self, image: _Image) -> tuple[set[int], set[int]]:
        truths, predictions = set(), set()
        for (truth, predicted), common in image.common.items():
            annotated, found = image.truths.get(truth), image.predictions.get(predicted)
            if annotated is None or found is None or annotated.get("iscrowd"):
                continue
            category = annotated["category_id"]
            if category != found["category_id"]:
                continue
            area = annotated.get("area", image.truth_areas[truth])
            union = image.predicted_areas[predicted] + area - common - image.shared(VOID, predicted)
            if common / union > 0.5:
                self._counts[category].matched += 1
                self._counts[category].iou += common / union
                truths.add(truth)
                predictions.add(predicted)
        return truths, predictions


class _Image(NamedTuple):
    truths: dict[int, Mapping[str, Any]]
    predictions: dict[int, Mapping[str, Any]]
    common: dict[tuple[int, int], int]  # pixels of both
    truth_areas: dict[int, int]
    predicted_areas: dict[int, int]

    @classmethod
    def of(
        cls,
        truth_ids: np.ndarray,
        truths: Sequence[Mapping[str, Any]],
        predicted_ids: np.ndarray,
        predictions: Sequence[Mapping[str, Any]],
    ) -> _Image:
        columns = panoptic_intersections(truth_ids, predicted_ids)
        common: dict[tuple[int, int], int] = {}
        areas: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for truth, predicted, pixels in zip(*(c.tolist() for c in columns), strict=True):
            common[truth, predicted] = pixels
            areas[0][truth] = areas[0].get(truth, 0) + pixels
            areas[1][predicted] = areas[1].get(predicted, 0) + pixels
        return cls(
            {segment["id"]: segment for segment in truths},
            {segment["id"]: segment for segment in predictions},
            common,
            *areas,
        )

    def shared(self, truth: int, predicted: int) -> int:
        return self.common.get((truth, predicted), 0)
