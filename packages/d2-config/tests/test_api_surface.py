"""The public names of the package; removing one is deliberate."""

import d2_config

NAMES = [
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


def test_the_public_names_are_these() -> None:
    assert sorted(d2_config.__all__) == NAMES


def test_every_public_name_is_there_and_documented() -> None:
    for name in set(NAMES) - {"global_cfg"}:
        assert getattr(d2_config, name).__doc__, name
