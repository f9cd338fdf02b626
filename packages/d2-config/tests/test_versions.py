"""Old config versions."""

import pytest

from d2_config import downgrade_config, get_cfg, upgrade_config
from d2_config.global_config import global_cfg, set_global_cfg


def test_downgrading_and_upgrading_gives_the_config_back() -> None:
    cfg = get_cfg()
    old = downgrade_config(cfg, 0)
    assert "BASE_LR" in cfg.SOLVER
    assert upgrade_config(old) == cfg


def test_a_version_that_is_not_older_is_refused() -> None:
    with pytest.raises((ValueError, AssertionError), match="version"):
        downgrade_config(get_cfg(), 99)


def test_the_global_config_is_what_was_set() -> None:
    cfg = get_cfg()
    cfg.SEED = 12345
    set_global_cfg(cfg)
    assert global_cfg.SEED == 12345
    set_global_cfg(get_cfg())
    assert global_cfg.SEED == get_cfg().SEED
