"""What importing the package loads, and what it does not."""

import subprocess
import sys

import pytest

import d2_config


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after ``code``."""
    command = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.check_output([sys.executable, "-c", command], text=True).split())


@pytest.mark.parametrize(
    "code",
    [
        "import d2_config",
        "from d2_config import Registry, ConfigKeyError",
        "from d2_config.logger import setup_logger; setup_logger()",
    ],
)
def test_registry_and_logger_need_no_other_package(code: str) -> None:
    heavy = {"omegaconf", "antlr4", "hydra", "yaml", "attr", "cloudpickle", "numpy", "torch"}
    assert not loaded_by(code) & heavy


def test_yacs_style_configs_and_configurable_do_not_import_omegaconf() -> None:
    code = (
        "from d2_config import configurable, get_cfg\n"
        "@configurable(from_config=lambda cfg: {'seed': cfg.SEED})\n"
        "def seed_of(seed): return seed\n"
        "assert seed_of(get_cfg()) == -1\n"
        "cfg = get_cfg(); cfg.merge_from_list(['SEED', '3']); cfg.dump()"
    )
    assert not loaded_by(code) & {"omegaconf", "antlr4", "hydra", "cloudpickle"}


def test_lazy_configs_import_hydra_and_cloudpickle_only_where_they_use_them() -> None:
    code = "from d2_config import LazyConfig, LazyCall, instantiate; LazyConfig.load"
    assert not loaded_by(code) & {"hydra", "cloudpickle", "numpy", "torch"}


def test_every_public_name_is_listed_and_is_always_the_same_object() -> None:
    assert set(d2_config.__all__) <= set(dir(d2_config))
    for name in d2_config.__all__:
        assert getattr(d2_config, name) is getattr(d2_config, name)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'd2_config' has no attribute 'LazyConfg'"):
        d2_config.LazyConfg  # noqa: B018 - reading it is the point
