"""The config of the whole process."""

from d2_config import get_cfg, global_cfg, set_global_cfg


def test_the_global_config_is_what_was_set() -> None:
    cfg = get_cfg()
    cfg.SEED = 12345
    set_global_cfg(cfg)
    assert global_cfg.SEED == 12345
    set_global_cfg(get_cfg())
    assert global_cfg.SEED == get_cfg().SEED
