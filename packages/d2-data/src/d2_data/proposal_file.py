"""Files of precomputed proposals for Fast R-CNN."""

import os
from typing import Any

import numpy as np

from d2_config.files import fetch
from d2_structures import ArrayPickleError, BoxMode, load_array_pickle

__all__ = ["load_proposals_into_dataset"]

_MAX_BITS_OF_ID = 128
_MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def load_proposals_into_dataset(
    dataset_dicts: list[dict[str, Any]], proposal_file: str | os.PathLike[str]
) -> list[dict[str, Any]]:
    """Add precomputed proposals to dataset dicts, in place.

    The file is a pickled dict of "ids" (image ids), "boxes" (an (N, 4) array for each, in
    pixels), "objectness_logits" (an (N,) array for each) and, optionally, "bbox_mode". It is read
    by :func:`~d2_structures.load_array_pickle`: no code is executed.

    Args:
        dataset_dicts: in the standard dataset format.
        proposal_file: the file, or its URL: see :func:`~d2_config.files.fetch`.

    Returns:
        ``dataset_dicts``; each has got ``proposal_boxes``, ``proposal_objectness_logits``
        (both by decreasing objectness) and ``proposal_bbox_mode``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not such a file, lacks one of the images, or has other than
            finite boxes and logits of the same number; names file and image.
    """
    name = os.fspath(proposal_file)
    file = _ProposalFile(name)
    for record in dataset_dicts:
        boxes, logits = file.of_image(record["image_id"])
        order = np.argsort(-logits, kind="stable")
        record["proposal_boxes"] = boxes[order]
        record["proposal_objectness_logits"] = logits[order]
        record["proposal_bbox_mode"] = file.mode
    return dataset_dicts


class _ProposalFile:
    """The content of a file, checked where it is used."""

    def __init__(self, name: str) -> None:
        self._name = name
        content = _load(name)
        ids = content.get("ids", content.get("indexes"))
        self._logits: Any = content.get("objectness_logits", content.get("scores"))
        self._boxes: Any = content.get("boxes")
        if ids is None or self._logits is None or self._boxes is None:
            keys = ", ".join(sorted(map(_short, content))[:12])
            raise ValueError(
                f"proposal file {name!r} must have 'ids', 'boxes' and 'objectness_logits', it has "
                f"[{keys}]"
            )
        lengths = [_length(part) for part in (ids, self._boxes, self._logits)]
        if None in lengths or len(set(lengths)) != 1:
            shown = ["no list" if length is None else length for length in lengths]
            raise ValueError(
                f"proposal file {name!r} must have 'ids', 'boxes' and 'objectness_logits' for each "
                f"image, their lengths are {shown[0]}, {shown[1]} and {shown[2]}"
            )
        self._position_of = {self._id(image_id): place for place, image_id in enumerate(ids)}
        self.mode = self._mode(content.get("bbox_mode", BoxMode.XYXY_ABS))

    def of_image(self, image_id: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes and logits of an image."""
        position = self._position_of.get(str(image_id))
        if position is None:
            raise ValueError(
                f"proposal file {self._name!r} has no proposals for image_id {image_id!r}; it was "
                "made for another dataset or split"
            )
        boxes, logits = self._boxes[position], self._logits[position]
        if _are_numbers(boxes) and boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        if not (_are_numbers(boxes) and boxes.ndim == 2 and boxes.shape[1] == 4):
            raise self._wrong(image_id, "boxes", "an (N, 4) array of finite numbers", boxes)
        if not (_are_numbers(logits) and logits.shape == boxes.shape[:1]):
            wanted = f"a ({len(boxes)},) array of finite numbers, one for each box"
            raise self._wrong(image_id, "objectness_logits", wanted, logits)
        return boxes, logits

    def _id(self, value: Any) -> str:
        if isinstance(value, np.integer):
            value = int(value)
        is_id = isinstance(value, (int, str)) and not isinstance(value, bool)
        if not is_id or (isinstance(value, int) and value.bit_length() > _MAX_BITS_OF_ID):
            raise ValueError(
                f"proposal file {self._name!r} has {_short(value)} among its 'ids', wanted whole "
                "numbers or text, as in 'image_id' of the dataset"
            )
        return str(value)

    def _wrong(self, image_id: Any, what: str, wanted: str, got: Any) -> ValueError:
        kind = type(got).__name__
        if isinstance(got, np.ndarray):
            kind = f"an array of {got.dtype} of shape {got.shape}"
        return ValueError(
            f"proposal file {self._name!r} has for image_id {image_id!r} as {what!r} {kind}; "
            f"wanted {wanted}"
        )

    def _mode(self, value: Any) -> BoxMode:
        if isinstance(value, int) and value in _MODES:
            return BoxMode(value)
        raise ValueError(
            f"proposal file {self._name!r} has the 'bbox_mode' {_short(value)}; known are "
            f"{', '.join(f'{mode.value} ({mode.name})' for mode in _MODES)}"
        )


def _short(value: Any) -> str:
    """A scalar as it is written, of others the kind: lists that share lists have endless texts."""
    if isinstance(value, str):
        return repr(value[:40])
    if isinstance(value, int) and value.bit_length() <= _MAX_BITS_OF_ID:
        return str(int(value))
    return f"a value of type {type(value).__name__}"


def _length(value: Any) -> int | None:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return None
    return len(value) if isinstance(value, (list, tuple, np.ndarray)) else None


def _are_numbers(value: Any) -> bool:
    """Whether a value is an array of numbers that are all finite."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        return False
    return bool(np.isfinite(value).all())


def _load(name: str) -> dict[Any, Any]:
    file = fetch(name)
    if not file.is_file():
        raise FileNotFoundError(f"proposal file {name!r} does not exist")
    try:
        content = load_array_pickle(file)
    except ArrayPickleError as error:
        raise ValueError(f"proposal file {name!r} is refused: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"proposal file {name!r} must hold a dict, got {type(content).__name__}")
    return content
