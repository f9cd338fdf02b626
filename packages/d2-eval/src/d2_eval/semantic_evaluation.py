"""Metrics of semantic segmentation."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d2_config.files import write_atomically
from d2_data import DatasetCatalog, Metadata
from d2_data.formats import read_label_map
from d2_eval.collecting import CollectingEvaluator
from d2_eval.dataset_metadata import metadata_of
from d2_eval.label_maps import predicted_labels
from d2_eval.semantic_counts import SemanticCounts
from d2_ops.host import rle_encode


class SemSegEvaluator(CollectingEvaluator):
    """IoU and accuracy of every class, and their averages, in percent.

    Averages are over the classes that are annotated somewhere. The metadata's ``stuff_classes``
    names the classes, ``ignore_label`` (255 by default) the pixels that do not count, and
    ``stuff_dataset_id_to_contiguous_id`` the ids that written predictions get.

    Args:
        dataset_name: a dataset's name in the catalogs, or its ``Metadata``.
        distributed: sum up all ranks and evaluate on the main one; otherwise each rank evaluates
            its own.
        output_dir: folder for ``sem_seg_predictions.json`` (run-length encoded masks) and
            ``sem_seg_evaluation.pth`` (the results); None writes nothing.
        num_classes: only checked against the metadata.
        ignore_label: in place of the metadata's.
        boundary_iou: also compare the outlines of classes; see
            :meth:`~d2_eval.semantic_counts.SemanticCounts.scores`.

    Raises:
        ValueError: if the metadata has no ``stuff_classes``, or another number of them.
    """

    def __init__(
        self,
        dataset_name: str | Metadata | Sequence[str | Metadata],
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        num_classes: int | None = None,
        ignore_label: int | None = None,
        boundary_iou: bool = False,
    ) -> None:
        super().__init__(distributed=distributed)
        metadata = metadata_of(dataset_name)
        self._name = metadata.name
        self._class_names: list[str] = list(metadata.get("stuff_classes") or ())
        if not self._class_names or num_classes not in (None, len(self._class_names)):
            raise ValueError(
                f"the metadata of {metadata.name!r} has {len(self._class_names)} 'stuff_classes'"
                + (", at least one is needed" if num_classes is None else f", not {num_classes}")
            )
        self._ignore_label = (
            metadata.get("ignore_label", 255) if ignore_label is None else ignore_label
        )
        mapping = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
        self._dataset_ids = {contiguous: number for number, contiguous in mapping.items()}
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._truth_files: dict[str, str] | None = None
        self._boundary_iou = boundary_iou
        self._counts = self._nothing()

    def reset(self) -> None:
        super().reset()
        self._counts = self._nothing()

    def _nothing(self) -> SemanticCounts:
        return SemanticCounts(
            len(self._class_names), self._ignore_label, boundary=self._boundary_iou
        )

    def process(
        self,
        inputs: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Any] | torch.Tensor],
    ) -> None:
        """Take in one batch.

        Args:
            inputs: one dict per image with ``file_name``, and ``sem_seg_file_name`` unless the
                dataset's records have it.
            outputs: for each image a dict with ``sem_seg``, or that itself: (C, H, W) scores of
                the classes, or (H, W) classes.

        Raises:
            RuntimeError: before :meth:`reset`.
            ValueError: if the lengths or the sizes of images differ, an annotation is missing, or
                an annotated or a predicted label is no class.
        """
        self.check_was_reset("process")
        for record, output in zip(inputs, outputs, strict=True):
            if "file_name" not in record:
                raise ValueError(f"an input has no 'file_name'; it has {sorted(record)}")
            predicted = predicted_labels(output, len(self._class_names), record["file_name"])
            truth_file = record.get("sem_seg_file_name") or self._truth_file(record["file_name"])
            truth = read_label_map(truth_file)
            try:
                self._counts.add(predicted, truth)
            except ValueError as error:
                raise ValueError(
                    f"{truth_file} does not fit the prediction for {record['file_name']} and the "
                    f"{len(self._class_names)} classes of {self._name!r}: {error}"
                ) from error
            if self._output_dir is not None:
                for entry in self.encode_json_sem_seg(predicted, record["file_name"]):
                    self.keep(entry)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Evaluate everything since :meth:`reset`.

        Returns:
            ``sem_seg`` with the scores of
            :meth:`~d2_eval.semantic_counts.SemanticCounts.scores`. Empty on other ranks than the
            main one.

        Raises:
            RuntimeError: before :meth:`reset`.
        """
        predictions = self.collected()
        total = self._nothing()
        total.confusion = self.summed(self._counts.confusion)
        total.outlines = self.summed(self._counts.outlines)
        if predictions is None:
            return {}
        scores = total.scores(self._class_names)
        if self._output_dir is not None:
            write_atomically(self._output_dir / "sem_seg_predictions.json", json.dumps(predictions))
            buffer = io.BytesIO()
            torch.save(scores, buffer)
            write_atomically(self._output_dir / "sem_seg_evaluation.pth", buffer.getvalue())
        return {"sem_seg": scores}

    def encode_json_sem_seg(
        self, sem_seg: np.ndarray, input_file_name: str
    ) -> list[dict[str, Any]]:
        """Turn a map of classes into entries of COCO's stuff result format.

        Args:
            sem_seg: (H, W) int, the model's class ids.
            input_file_name: of the image.

        Returns:
            One dict per class in the map: ``file_name``, ``category_id`` of the dataset and
            ``segmentation``, a run-length encoding whose counts are text.

        Raises:
            ValueError: if the metadata maps no dataset id to a class.
        """
        entries = []
        for label in np.unique(sem_seg).tolist():
            if self._dataset_ids and label not in self._dataset_ids:
                raise ValueError(f"{self._name!r} has no dataset id for class {label}")
            rle = rle_encode(sem_seg == label)
            entries.append(
                {
                    "file_name": input_file_name,
                    "category_id": self._dataset_ids.get(label, label),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
                }
            )
        return entries

    def _truth_file(self, file_name: str) -> str:
        if self._truth_files is None:
            records = DatasetCatalog.get(self._name) if self._name in DatasetCatalog else ()
            self._truth_files = {
                record["file_name"]: record["sem_seg_file_name"]
                for record in records
                if "sem_seg_file_name" in record
            }
        if file_name not in self._truth_files:
            raise ValueError(
                f"neither the input nor the dataset {self._name!r} has a 'sem_seg_file_name' for "
                f"{file_name}"
            )
        return self._truth_files[file_name]
