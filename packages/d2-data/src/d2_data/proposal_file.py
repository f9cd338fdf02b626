"""Files of precomputed proposals for Fast R-CNN."""

import os
import pickle
from typing import Any

import numpy as np

from d2_config.remote_files import fetch
from d2_structures import BoxMode

__all__ = ["load_proposals_into_dataset"]


def load_proposals_into_dataset(
    dataset_dicts: list[dict[str, Any]], proposal_file: str | os.PathLike[str]
) -> list[dict[str, Any]]:
    """Add precomputed proposals to dataset dicts, in place.

    The file is a pickled dict of "ids" (image ids), "boxes" (an (N, 4) array for each),
    "objectness_logits" (an (N,) array for each) and, optionally, "bbox_mode". It is read
    by an unpickler that admits arrays and plain containers only: no code is executed.

    Args:
        dataset_dicts: in the standard dataset format.
        proposal_file: the file, or its URL: see :func:`~d2_config.remote_files.fetch`.

    Returns:
        ``dataset_dicts``; each has got ``proposal_boxes``, ``proposal_objectness_logits``
        (both by decreasing objectness) and ``proposal_bbox_mode``.

    Raises:
        ValueError: if the file is not such a file, or lacks one of the images.
    """
    name = os.fspath(proposal_file)
    content = _load(str(fetch(name)))
    ids = content.get("ids", content.get("indexes"))
    logits_per_image = content.get("objectness_logits", content.get("scores"))
    if ids is None or logits_per_image is None or "boxes" not in content:
        raise ValueError(
            f"proposal file {name!r} must have 'ids', 'boxes' and 'objectness_logits', it has "
            f"{sorted(map(str, content))}"
        )
    position_of = {str(image_id): position for position, image_id in enumerate(ids)}
    mode = BoxMode(content.get("bbox_mode", BoxMode.XYXY_ABS))
    for record in dataset_dicts:
        try:
            position = position_of[str(record["image_id"])]
        except KeyError:
            raise ValueError(
                f"proposal file {name!r} has no proposals for image_id {record['image_id']!r}; it "
                "was made for another dataset or split"
            ) from None
        logits = np.asarray(logits_per_image[position])
        order = np.argsort(-logits, kind="stable")
        record["proposal_boxes"] = np.asarray(content["boxes"][position])[order]
        record["proposal_objectness_logits"] = logits[order]
        record["proposal_bbox_mode"] = mode
    return dataset_dicts


class _PlainUnpickler(pickle.Unpickler):
    """Admits NumPy arrays, plain containers and the box mode."""

    _ADMITTED = frozenset(
        {
            ("_codecs", "encode"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy.core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if name == "BoxMode" and module.startswith(("detectron2.structures", "d2_structures")):
            return BoxMode
        if (module, name) not in self._ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not plain data")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _load(name: str) -> dict[Any, Any]:
    try:
        with open(name, "rb") as file:
            content = _PlainUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise FileNotFoundError(f"proposal file {name!r} does not exist") from None
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"proposal file {name!r} is refused: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"proposal file {name!r} must hold a dict, got {type(content).__name__}")
    return content
