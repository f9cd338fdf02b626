"""Panoptic quality of a dataset in COCO's panoptic format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from d2_config.files import write_atomically
from d2_data import Metadata
from d2_data.formats import CocoFile, encode_panoptic_png
from d2_eval.collecting import CollectingEvaluator, one_per_image
from d2_eval.dataset_metadata import metadata_of
from d2_eval.panoptic_files import panoptic_scores, read_panoptic_annotations
from d2_eval.panoptic_quality import VOID


class COCOPanopticEvaluator(CollectingEvaluator):
    """Panoptic, segmentation and recognition quality in percent, equal to the panopticapi's.

    All ranks must call :meth:`evaluate`; the main one evaluates. Metadata: ``panoptic_json`` and
    ``panoptic_root`` name the annotations; ``thing_dataset_id_to_contiguous_id`` and
    ``stuff_dataset_id_to_contiguous_id`` map the classes; ``label_divisor`` is needed for
    predictions without ``segments_info``.

    Args:
        dataset_name: a dataset's name in the catalog, or its ``Metadata``.
        output_dir: folder for the predictions in COCO's panoptic format: ``predictions.json`` and
            a PNG per image. None writes nothing.

    Raises:
        ValueError: if the metadata lacks ``panoptic_json`` or ``panoptic_root``.
    """

    def __init__(
        self,
        dataset_name: str | Metadata | Sequence[str | Metadata],
        output_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        metadata = metadata_of(dataset_name)
        for key in ("panoptic_json", "panoptic_root"):
            if metadata.get(key) is None:
                raise ValueError(
                    f"the metadata of {metadata.name!r} has no {key!r}, which names the panoptic "
                    "annotations; set it"
                )
        self._metadata = metadata
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._dataset_ids = {
            True: _inverted(metadata.get("thing_dataset_id_to_contiguous_id")),
            False: _inverted(metadata.get("stuff_dataset_id_to_contiguous_id")),
        }

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in one batch.

        Args:
            inputs: one dict per image with ``image_id`` and ``file_name``.
            outputs: one dict per image with ``panoptic_seg``: the (H, W) map of segment ids and
                their ``segments_info``, or None in place of the latter where an id is its class
                times ``label_divisor`` plus a number, and −1 is void.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if the lengths differ, a class is unknown or ``label_divisor`` is missing.
        """
        self.check_was_reset("process")
        for record, output in zip(inputs, outputs, strict=True):
            for key, part in (
                ("image_id", record),
                ("file_name", record),
                ("panoptic_seg", output),
            ):
                if key not in part:
                    kind = "input" if part is record else "output"
                    raise ValueError(f"an {kind} has no {key!r}; it has {sorted(part)}")
            ids, segments = output["panoptic_seg"]
            ids = ids.cpu().numpy().astype(np.int64)
            if segments is None:
                ids, segments = self._described(ids)
            known = [segment["id"] for segment in segments]
            self.keep(
                {
                    "image_id": record["image_id"],
                    "file_name": f"{Path(record['file_name']).stem}.png",
                    "png": encode_panoptic_png(np.where(np.isin(ids, known), ids, VOID)),
                    "segments_info": [self._with_dataset_id(segment) for segment in segments],
                }
            )

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Evaluate everything since :meth:`reset`, on all images of the annotations.

        Returns:
            ``panoptic_seg`` with ``PQ``, ``SQ``, ``RQ`` and the same of things (``PQ_th`` …) and
            of stuff (``PQ_st`` …); NaN where there is none. Empty on other ranks than the main
            one.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if an annotated image was not processed, or see
                :meth:`~d2_eval.panoptic_quality.PanopticQuality.add`.
        """
        predictions = self.collected()
        if predictions is None:
            return {}
        predictions = one_per_image(predictions)
        truth = read_panoptic_annotations(self._metadata.panoptic_json)
        if self._output_dir is not None:
            self._write(truth, predictions)
        scores = panoptic_scores(
            truth,
            self._metadata.panoptic_root,
            {
                prediction["image_id"]: (prediction["png"], prediction["segments_info"])
                for prediction in predictions
            },
        )
        return {"panoptic_seg": scores}

    def _write(self, truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> None:
        assert self._output_dir is not None
        file = CocoFile(truth["categories"], truth.get("info"))
        file.images.extend(truth["images"])
        for prediction in predictions:
            write_atomically(self._output_dir / prediction["file_name"], prediction["png"])
            file.add_segments(
                prediction["image_id"], prediction["file_name"], prediction["segments_info"]
            )
        file.write(self._output_dir / "predictions.json")

    def _described(self, ids: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Ids above 0 with their segments, from ids that hold the class."""
        divisor = self._metadata.get("label_divisor")
        if divisor is None:
            raise ValueError(
                f"predictions without segments_info need 'label_divisor' in the metadata of "
                f"{self._metadata.name!r}"
            )
        segments = [
            {
                "id": number + 1,
                "category_id": number // divisor,
                "isthing": number // divisor in self._dataset_ids[True],
            }
            for number in np.unique(ids).tolist()
            if number != -1
        ]
        return ids + 1, segments

    def _with_dataset_id(self, segment: Mapping[str, Any]) -> dict[str, Any]:
        is_thing = bool(segment["isthing"])
        dataset_ids, category = self._dataset_ids[is_thing], segment["category_id"]
        if dataset_ids and category not in dataset_ids:
            raise ValueError(
                f"{self._metadata.name!r} has no {'thing' if is_thing else 'stuff'} class "
                f"{category}; it has {sorted(dataset_ids)}"
            )
        return {
            "id": int(segment["id"]),
            "category_id": int(dataset_ids.get(category, category)),
            "isthing": is_thing,
        }


def _inverted(mapping: Mapping[int, int] | None) -> dict[int, int]:
    return {contiguous: number for number, contiguous in (mapping or {}).items()}
