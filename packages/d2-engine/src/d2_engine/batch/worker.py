"""What runs in a process of its own: a model that predicts on one part after the other."""

import pickle
from collections.abc import Callable
from typing import Any

from d2_engine.batch.output import part_file, row_of, row_of_failure, write_part
from d2_engine.batch.parts import Part
from d2_engine.batch.pictures import Read, read_pictures
from d2_engine.defaults import DefaultPredictor
from d2_engine.run.prediction_drawing import kept

MakePredictor = Callable[[], DefaultPredictor]


class Worker:
    """Predicts on parts and writes their files.

    Args:
        make_predictor: of the model.
        folder: of the files.
        confidence: the lowest score that is kept.
        threads: of the model on a CPU.
    """

    def __init__(
        self, make_predictor: MakePredictor, folder: str, confidence: float, threads: int
    ) -> None:
        import torch

        torch.set_num_threads(threads)
        self._predictor = make_predictor()
        self._folder = folder
        self._confidence = confidence

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Do a part; returns its counts.

        Args:
            row: ``part``, pickled.
        """
        part: Part = pickle.loads(row["part"])
        class_names = self._predictor.metadata.get("thing_classes") or []
        rows = map(self._row, read_pictures(part))
        return write_part(part_file(self._folder, part.number), rows, class_names)

    def _row(self, read: Read) -> dict[str, Any]:
        if read.image is None:
            return row_of_failure(read.name, read.error or "the picture could not be read")
        try:
            outputs = self._predictor(read.image)
        except Exception as error:  # whatever a model makes of a strange picture
            reason = str(error) or type(error).__name__
            return row_of_failure(read.name, f"the model fails on this picture: {reason}")
        if "instances" not in outputs:
            raise ValueError(
                "batches are written of instances, but this model gives "
                f"{', '.join(outputs)}: use d2 predict without --engine ray"
            )
        instances = kept(outputs, self._confidence)["instances"]
        return row_of(read.name, read.image.shape[:2], instances)
