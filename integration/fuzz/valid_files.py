"""Valid pickles to begin with: checkpoints of the model zoo and proposals, in every protocol."""

import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from d2_structures import BoxMode

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

# As a pickle of Python 2 and NumPy 1 writes {"conv_w": array}: text is bytes there.
_PYTHON_2 = (
    b"}q\x00(U\x06conv_wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02(cnumpy\nndarray\nq\x03"
    b"K\x00\x85U\x01btq\x04Rq\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06(U\x02f4K\x00K\x01tq\x07Rq"
    b"\x08(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08"
    b"\x00\x00\xc0?\x00\x00\x00\xc0tbU\x06conv_bq\x09h\x05u."
)


class ValidFile(NamedTuple):
    """A file that its reader takes.

    Attributes:
        content: of the file.
        shapes: of the weights of a model that a checkpoint is for, by name; None for proposals.
    """

    content: bytes
    shapes: dict[str, tuple[int, ...]] | None


def valid_files() -> list[ValidFile]:
    """Checkpoints and proposals in every protocol."""
    files = [ValidFile(_PYTHON_2, {"conv_w": (2,), "conv_b": (2,)})]
    for protocol in PROTOCOLS:
        for content, weights in _checkpoints():
            shapes = {name: np.shape(value) for name, value in weights.items()}
            files.append(ValidFile(pickle.dumps(content, protocol), shapes))
        files.append(ValidFile(pickle.dumps(_proposals(), protocol), None))
    return files


def _checkpoints() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Contents, and the weights in them."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, 2)).astype(np.float32)
    zoo = OrderedDict(
        [
            ("weight", weight),
            ("bias", np.arange(3, dtype=np.float32)),
            ("running_mean", weight.T.astype(np.float64)),
            ("of_half", weight.astype(np.float16)),
            ("big_endian", weight.astype(">f4")),
            ("steps", np.int64(7)),
            ("flag", np.array([True, False])),
            ("empty", np.zeros((0, 4), np.float32)),
        ]
    )
    blobs = {"conv1_w": weight, "conv1_b": weight[0]}
    bare = {"weight": weight, "bias": np.arange(3, dtype=np.float32)}
    return [
        ({"model": zoo, "__author__": "Detectron2 Model Zoo", "matching_heuristics": True}, zoo),
        ({"blobs": blobs}, blobs),
        (bare, bare),
    ]


def _proposals() -> dict[str, Any]:
    boxes = [np.array([[1, 2, 3, 4], [0, 0, 5, 5]], np.float32), np.zeros((0, 4), np.float32)]
    return {
        "ids": [7, "a"],
        "boxes": boxes,
        "objectness_logits": [np.array([0.5, 1.5], np.float32), np.zeros(0, np.float32)],
        "bbox_mode": BoxMode.XYXY_ABS,
    }
