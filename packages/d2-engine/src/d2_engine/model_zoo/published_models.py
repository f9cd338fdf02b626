"""The models that were published with trained weights."""

import csv
import functools
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import PurePosixPath

from d2_config import did_you_mean
from d2_config.files import web_address

_TABLE = "published_models.csv"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A row of the table of published models; a figure that was not published is ``None``.

    Attributes:
        config: the name of the config that the model was trained with.
        checkpoint: model id and file name, the end of the URL.
        parameters: numbers of the model that can be trained, frozen ones included.
        train_seconds_per_iteration: 16 images on 8 V100 GPUs.
        train_seconds_per_image: what was published instead for the new baselines.
        inference_seconds_per_image: on a V100 GPU.
        training_memory_gb: on each GPU.
        box_ap, mask_ap, keypoint_ap, panoptic_quality, proposal_ar: on the test data of the
            config, in percent.
    """

    config: str
    checkpoint: str
    parameters: int
    train_seconds_per_iteration: float | None
    train_seconds_per_image: float | None
    inference_seconds_per_image: float | None
    training_memory_gb: float | None
    box_ap: float | None
    mask_ap: float | None
    keypoint_ap: float | None
    panoptic_quality: float | None
    proposal_ar: float | None

    @property
    def model_id(self) -> str:
        """The number that the model was published under."""
        return self.checkpoint.partition("/")[0]

    @property
    def url(self) -> str:
        """Where the trained weights are."""
        return web_address(f"detectron2://{_stem(self.config)}/{self.checkpoint}")


def get_checkpoint_url(config_path: str) -> str:
    """Return the URL of the model trained with a packaged config.

    Args:
        config_path: as for :func:`get_config_file`. The ``.py`` twin of a ``.yaml`` config has
            the weights of that.

    Raises:
        ValueError: if no weights were published for it; names close matches.
    """
    by_stem = {_stem(model.config): model for model in published_models()}
    model = by_stem.get(_stem(config_path))
    if model is None:
        known = [model.config for model in by_stem.values()]
        hint = did_you_mean(config_path, known) or " The command d2 zoo lists those that have."
        raise ValueError(f"no trained weights were published for {config_path!r}.{hint}")
    return model.url


@functools.cache
def published_models() -> tuple[PublishedModel, ...]:
    """Return all models that were published with trained weights."""
    with (files("d2_engine") / "model_zoo" / _TABLE).open(encoding="utf-8") as file:
        return tuple(_row(cells) for cells in csv.DictReader(file))


def _row(cells: dict[str, str]) -> PublishedModel:
    kinds = {"config": str, "checkpoint": str, "parameters": int}
    figures = {
        field.name: kinds.get(field.name, float)(text) if (text := cells[field.name]) else None
        for field in fields(PublishedModel)
    }
    return PublishedModel(**figures)  # type: ignore[arg-type]  # each field's own kind


def _stem(config_path: str) -> str:
    return str(PurePosixPath(config_path).with_suffix(""))
