"""Registries, yacs-style and lazy configs, logging: the torch-free wiring of d2.

Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

if TYPE_CHECKING:
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
    from .trusted_targets import UntrustedTargetError, trust_targets
    from .versions import downgrade_config, upgrade_config

__all__ = [
    "CfgNode",
    "ConfigFileError",
    "ConfigKeyError",
    "ConfigTypeError",
    "LazyCall",
    "LazyConfig",
    "Registry",
    "UntrustedTargetError",
    "configurable",
    "downgrade_config",
    "get_cfg",
    "global_cfg",
    "instantiate",
    "locate",
    "set_global_cfg",
    "trust_targets",
    "upgrade_config",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CfgNode": "cfg_node",
        "ConfigFileError": "errors",
        "ConfigKeyError": "errors",
        "ConfigTypeError": "errors",
        "LazyCall": "lazy_call",
        "LazyConfig": "lazy_config",
        "Registry": "registry",
        "UntrustedTargetError": "trusted_targets",
        "configurable": "from_config",
        "downgrade_config": "versions",
        "get_cfg": "defaults",
        "global_cfg": "global_config",
        "instantiate": "instantiation",
        "locate": "dotted_name",
        "set_global_cfg": "global_config",
        "trust_targets": "trusted_targets",
        "upgrade_config": "versions",
    },
)
