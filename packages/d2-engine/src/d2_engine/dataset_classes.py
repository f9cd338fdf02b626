"""Do the classes of a config's data fit each other and the model?"""

import logging
from typing import Any

from omegaconf import DictConfig

from d2_config import instantiate
from d2_data import Metadata, MetadataCatalog

logger = logging.getLogger(__name__)

NUM_CLASSES = "model.roi_heads.num_classes"


def metadata_of(loader: DictConfig) -> Metadata:
    """Return the metadata of the (first) dataset of a loader's config; empty if it names none.

    Datasets that learn their classes from their annotations have to be loaded before.
    """
    names: Any = loader.get("dataset", {}).get("names")
    if isinstance(names, DictConfig):
        names = instantiate(names)
    if not names:
        return Metadata()
    return MetadataCatalog.get(names if isinstance(names, str) else names[0])


def settle_num_classes(cfg: DictConfig, metadata: Metadata) -> None:
    """Take the model's number of classes from the data where it is null, else compare it.

    Args:
        cfg: a config with ``model``; changed in place.
        metadata: of the data. Nothing happens if it declares no classes.

    Raises:
        ValueError: if the numbers differ.
    """
    classes = metadata.get("thing_classes")
    if classes is None or "num_classes" not in cfg.model.get("roi_heads", {}):
        return
    wanted = cfg.model.roi_heads.num_classes
    if wanted is None:
        cfg.model.roi_heads.num_classes = len(classes)
        logger.info("%s=%d: %s", NUM_CLASSES, len(classes), ", ".join(classes))
    elif wanted != len(classes):
        raise ValueError(
            f"{NUM_CLASSES} is {wanted}, but the data {metadata.name!r} has {len(classes)} "
            f"classes ({_shown(classes)}): set {NUM_CLASSES}={len(classes)}, or null to take it "
            "from the data"
        )


def check_num_classes_known(cfg: DictConfig) -> None:
    """Raise ValueError if the number of classes is still to be taken from data."""
    heads = cfg.model.get("roi_heads", {})
    if "num_classes" in heads and heads.num_classes is None:
        raise ValueError(
            f"{NUM_CLASSES} is null, which means: as many as the training data has. To predict, "
            "give the folder of a training run, whose config has the number"
        )


def check_same_classes(train: Metadata, test: Metadata) -> None:
    """Raise ValueError unless test data has the classes of the training data, in their order."""
    learned, asked = train.get("thing_classes"), test.get("thing_classes")
    if learned is None or asked is None or list(learned) == list(asked):
        return
    raise ValueError(
        f"the test data {test.name!r} has the classes {_shown(asked)}, but the training data "
        f"{train.name!r} has {_shown(learned)}: declare the same categories in both, also those "
        "without annotations"
    )


def _shown(classes: list[str]) -> str:
    return ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
