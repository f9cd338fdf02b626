"""Registries, yacs-style and lazy configs, logging: the torch-free wiring of d2.

Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

if TYPE_CHECKING:
    from .cfg_node import CfgNode
    from .cfg_text import is_yacs_file
    from .defaults import get_cfg
    from .dotted_name import locate
    from .errors import ConfigFileError, ConfigKeyError, ConfigTypeError, did_you_mean
    from .from_config import configurable
    from .global_config import global_cfg, set_global_cfg
    from .instantiation import instantiate, locate_for, target_of
    from .lazy_call import LazyCall
    from .lazy_config import LazyConfig
    from .overrides import override_pairs
    from .registry import Registry
    from .trusted_targets import (
        UntrustedTargetError,
        alias_targets,
        check_targets,
        is_untrusted,
        trust_targets,
        untrusted_modules,
    )
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
    "alias_targets",
    "check_targets",
    "configurable",
    "did_you_mean",
    "downgrade_config",
    "get_cfg",
    "global_cfg",
    "instantiate",
    "is_untrusted",
    "is_yacs_file",
    "locate",
    "locate_for",
    "override_pairs",
    "set_global_cfg",
    "target_of",
    "trust_targets",
    "untrusted_modules",
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
        "alias_targets": "trusted_targets",
        "check_targets": "trusted_targets",
        "configurable": "from_config",
        "did_you_mean": "errors",
        "downgrade_config": "versions",
        "get_cfg": "defaults",
        "global_cfg": "global_config",
        "instantiate": "instantiation",
        "is_untrusted": "trusted_targets",
        "is_yacs_file": "cfg_text",
        "locate": "dotted_name",
        "locate_for": "instantiation",
        "override_pairs": "overrides",
        "set_global_cfg": "global_config",
        "target_of": "instantiation",
        "trust_targets": "trusted_targets",
        "untrusted_modules": "trusted_targets",
        "upgrade_config": "versions",
    },
)
