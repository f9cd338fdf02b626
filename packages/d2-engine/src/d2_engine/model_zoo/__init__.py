"""Packaged configs, and the models that were trained with them."""

from d2_engine.model_zoo.config_files import get_config_file, list_config_files
from d2_engine.model_zoo.config_loading import get_config
from d2_engine.model_zoo.models import get
from d2_engine.model_zoo.published_models import (
    PublishedModel,
    get_checkpoint_url,
    published_models,
)

__all__ = [
    "PublishedModel",
    "get",
    "get_checkpoint_url",
    "get_config",
    "get_config_file",
    "list_config_files",
    "published_models",
]
