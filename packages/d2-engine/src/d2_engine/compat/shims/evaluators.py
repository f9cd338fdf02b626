"""Evaluators with what subclasses inherit from those of detectron2, who evaluate by pycocotools.

Results are those of d2 unless a subclass evaluates by itself.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import d2_eval
from d2_config import CfgNode
from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_engine.compat.shims.coco_evaluation import _evaluate_predictions_on_coco

_METRICS = {
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "segm": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl"),
}


class _Collecting(d2_eval.DatasetEvaluator):
    """What every evaluator of detectron2 holds."""

    _cpu_device = torch.device("cpu")
    _logger = logging.getLogger("detectron2.evaluation")
    _kept: list[Any] | None

    @property
    def _predictions(self) -> list[Any]:
        """What `process` has kept; evaluators of one's own append to it."""
        if self._kept is None:
            self._kept = []
        return self._kept

    @_predictions.setter
    def _predictions(self, predictions: list[Any]) -> None:
        self._kept = predictions


class _OfInstances(_Collecting):
    """What evaluators of instances hold; it stands before one of them among the bases."""

    _ground_truth: Any

    def __init__(
        self,
        dataset_name: Any,
        tasks: Any = None,
        distributed: bool = True,
        output_dir: Any = None,
        **options: Any,
    ) -> None:
        tasks = _tasks(tasks, self._logger)
        super().__init__(  # type: ignore[call-arg]  # of the evaluator behind it
            dataset_name, tasks, distributed, output_dir, **options
        )
        self._metadata = _metadata_of(dataset_name)

    def _kept_instances(self, instances: Any, image_id: Any) -> Any:
        """Entries of COCO's format, which programs for detectron2 look at."""
        return d2_eval.instances_to_coco_json(instances, image_id)

    def _tasks_from_predictions(self, predictions: Any) -> Any:
        """The tasks of predictions, which programs for detectron2 hold as entries."""
        if not isinstance(predictions, list):
            return super()._tasks_from_predictions(predictions)  # type: ignore[misc]
        fields = {"segm": "segmentation", "keypoints": "keypoints"}
        present = set[str]().union(*predictions)
        return ("bbox", *(task for task, field in fields.items() if field in present))

    @property
    def _coco_api(self) -> Any:
        """pycocotools' index of the annotations."""
        return self._ground_truth.coco

    @property
    def _do_evaluation(self) -> bool:
        return bool(self._ground_truth.has_annotations)


def _tasks(tasks: Any, logger: logging.Logger) -> Any:
    """The tasks; none where old programs give a config."""
    if not isinstance(tasks, CfgNode):
        return tasks
    logger.warning("an evaluator was given a config for its tasks; they follow from predictions")
    return None


def _metadata_of(dataset_name: Any) -> Any:
    if isinstance(dataset_name, str):
        return MetadataCatalog.get(dataset_name)
    return dataset_name if isinstance(dataset_name, Metadata) else Metadata()


class COCOEvaluator(_OfInstances, d2_eval.COCOEvaluator):
    """`d2_eval.COCOEvaluator`, whose steps subclasses overwrite and call as in detectron2."""

    def _eval_predictions(self, predictions: Any, img_ids: Any = None) -> None:
        """Evaluate instances into ``_results``."""
        if type(self)._derive_coco_results is COCOEvaluator._derive_coco_results:
            super()._eval_predictions(predictions, img_ids)
            return
        columns = self._results_of(predictions)
        results = d2_eval.results_as_entries(columns)
        for task in self._tasks or self._tasks_from_predictions(columns):
            evaluation = (
                _evaluate_predictions_on_coco(
                    self._coco_api,
                    results,
                    task,
                    kpt_oks_sigmas=self._kpt_oks_sigmas,
                    img_ids=img_ids,
                    max_dets_per_image=self._max_dets_per_image,
                )
                if results
                else None
            )
            self._results[task] = self._derive_coco_results(
                evaluation, task, class_names=self._ground_truth.class_names
            )

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Sequence[str] | None = None
    ) -> dict[str, float]:
        """The scores of pycocotools' evaluation in percent, and those of each class."""
        names = _METRICS[iou_type]
        if coco_eval is None:
            self._logger.warning("No predictions from the model!")
            return dict.fromkeys(names, float("nan"))
        results = {
            name: float(value) * 100 if value >= 0 else float("nan")
            for name, value in zip(names, coco_eval.stats, strict=False)
        }
        if class_names is None or len(class_names) <= 1:
            return results
        precisions = coco_eval.eval["precision"]
        if len(class_names) != precisions.shape[2]:
            raise ValueError(
                f"there are {len(class_names)} class_names for {precisions.shape[2]} classes"
            )
        for index, name in enumerate(class_names):
            values = precisions[:, :, index, 0, -1]
            values = values[values > -1]
            results[f"AP-{name}"] = float(values.mean() * 100) if values.size else float("nan")
        return results


class LVISEvaluator(_OfInstances, d2_eval.LVISEvaluator):
    """`d2_eval.LVISEvaluator`, whose steps subclasses overwrite and call as in detectron2."""

    @property
    def _lvis_api(self) -> Any:
        """The index of the annotations: pycocotools', which has the same fields as LVIS'."""
        return self._coco_api


class SemSegEvaluator(_Collecting, d2_eval.SemSegEvaluator):
    """`d2_eval.SemSegEvaluator`, whose pixels subclasses count as in detectron2.

    Attributes:
        _conf_matrix: (K + 1, K + 1) int64 pixels, predictions down, ground truths across, the
            last ones of what is ignored.
    """

    _conf_matrix: np.ndarray
    _files: dict[str, str] | None = None

    @property
    def _num_classes(self) -> int:
        return len(self._class_names)

    @property
    def input_file_to_gt_file(self) -> dict[str, str]:
        """The file of labels of each image."""
        if self._files is None:
            records = DatasetCatalog.get(self._name) if self._name in DatasetCatalog.list() else []
            self._files = {r["file_name"]: r["sem_seg_file_name"] for r in records}
        return self._files

    def reset(self) -> None:
        """Forget what was counted."""
        super().reset()
        self._conf_matrix = np.zeros((self._num_classes + 1,) * 2, np.int64)

    def process(self, inputs: Any, outputs: Any) -> None:
        """Take in one batch."""
        super().process(inputs, outputs)
        self._conf_matrix[:-1, :-1] += self._counts.confusion
        self._counts.confusion[:] = 0

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Evaluate what was counted."""
        self._counts.confusion[:] = self._conf_matrix[:-1, :-1]
        scores = super().evaluate()
        self._counts.confusion[:] = 0
        return scores
