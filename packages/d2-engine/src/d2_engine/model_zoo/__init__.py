"""Configs that come with the package."""

from d2_engine.model_zoo.config_files import get_config, get_config_file, list_config_files

__all__ = ["get_config", "get_config_file", "list_config_files"]
