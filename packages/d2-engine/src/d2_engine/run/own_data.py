"""Data of one's own in COCO's format, for a config that was written for other data."""

from collections.abc import Sequence

from d2_data.datasets import OutsideRoot, coco_folder
from d2_engine.run.settings import Settings

_PREFIX = "data."
_KEYS = tuple(
    f"{split}.{key}" for split in ("train", "val") for key in ("json", "images", "outside")
)
_OUTSIDE: dict[str, OutsideRoot] = {"refuse": "refuse", "links": "links", "allow": "allow"}


def is_own_data(override: str, settings: Settings) -> bool:
    """Whether an override names data of one's own, in a config that has no ``data`` itself."""
    return override.startswith(_PREFIX) and settings.value("data") is None


def with_own_data(settings: Settings, overrides: Sequence[str]) -> Settings:
    """Return settings that train and evaluate on data of one's own, with COCO's metrics.

    With training data only, nothing is evaluated.

    Args:
        settings: of the config.
        overrides: texts ``data.train.json=PATH``, ``data.train.images=PATH``, and the same for
            ``data.val``; without ``images`` they lie beside the annotations.
            ``data.train.outside=links`` (or ``allow``) lets images lie outside of their folder: see
            :func:`d2_data.datasets.load_coco_json`.

    Raises:
        KeyError: for another key.
        ValueError: if there are images without annotations, or another word for ``outside``.
        FileNotFoundError: if a file or folder does not exist.
    """
    paths: dict[str, str] = {}
    for text in overrides:
        key, _, path = text.removeprefix(_PREFIX).partition("=")
        if key not in _KEYS or not path:
            known = ", ".join(f"{_PREFIX}{name}=…" for name in _KEYS)
            raise KeyError(f"{text!r} names no data; known are {known}")
        paths[key] = path
    names = {split: _dataset(split, paths) for split in ("train", "val")}
    return settings.with_data(names["train"], names["val"])


def _dataset(split: str, paths: dict[str, str]) -> str | None:
    annotations, images = paths.get(f"{split}.json"), paths.get(f"{split}.images")
    outside = paths.get(f"{split}.outside", "refuse")
    if outside not in _OUTSIDE:
        raise ValueError(f"data.{split}.outside={outside}: known are {', '.join(_OUTSIDE)}")
    if annotations is None:
        lonely = next((key for key in paths if key.startswith(f"{split}.")), None)
        if lonely is not None:
            raise ValueError(
                f"data.{lonely}={paths[lonely]} has no annotations: set data.{split}.json=…"
            )
        return None
    try:
        return coco_folder(annotations, images, outside_root=_OUTSIDE[outside])
    except OSError as error:
        raise type(error)(f"{error}; check data.{split}.json and data.{split}.images") from error
