"""Registries, yacs-style and lazy configs, logging: the torch-free wiring of d2."""

from .cfg_node import CfgNode
from .defaults import get_cfg
from .dotted_name import locate
from .errors import ConfigFileError, ConfigKeyError, ConfigTypeError
from .from_config import configurable
from .global_config import global_cfg, set_global_cfg
from .instantiation import instantiate
from .lazy_call import LazyCall
from .lazy_config import LazyConfig
from .registry import Registry
from .versions import downgrade_config, upgrade_config

__all__ = [
    "CfgNode",
    "ConfigFileError",
    "ConfigKeyError",
    "ConfigTypeError",
    "LazyCall",
    "LazyConfig",
    "Registry",
    "configurable",
    "downgrade_config",
    "get_cfg",
    "global_cfg",
    "instantiate",
    "locate",
    "set_global_cfg",
    "upgrade_config",
]
