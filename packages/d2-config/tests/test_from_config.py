"""Constructors and functions that take arguments or a config."""

import pytest
from omegaconf import OmegaConf

from d2_config import CfgNode, configurable

CFG = CfgNode({"A": 1, "B": 2})


class Made:
    @configurable
    def __init__(self, a: int, b: int = 2, c: int = 3) -> None:
        self.values = (a, b, c)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {"a": cfg.A, "b": cfg.B}


class MadeWithMore(Made):
    @classmethod
    def from_config(cls, cfg: CfgNode, extra: int) -> dict:
        return {**super().from_config(cfg), "c": extra}


@configurable(from_config=lambda cfg: {"a": cfg.A, "b": cfg.B})
def made(a: int, b: int = 2, c: int = 3) -> tuple:
    """Return the arguments."""
    return (a, b, c)


@pytest.mark.parametrize("call", [lambda *a, **k: Made(*a, **k).values, made])
def test_both_usages_of_the_documentation(call) -> None:
    assert call(a=5, b=6) == (5, 6, 3)
    assert call(5, 6, c=7) == (5, 6, 7)
    assert call(CFG) == (1, 2, 3)
    assert call(cfg=CFG) == (1, 2, 3)
    assert call(CFG, b=8, c=9) == (1, 8, 9)


def test_a_lazy_config_will_do() -> None:
    assert Made(OmegaConf.create({"A": 4, "B": 5})).values == (4, 5, 3)


def test_arguments_that_from_config_knows_go_to_it() -> None:
    assert MadeWithMore(CFG, extra=11).values == (1, 2, 11)
    assert MadeWithMore(CFG, 11, b=0).values == (1, 0, 11)


def test_the_decorated_function_keeps_its_name_and_text() -> None:
    assert made.__name__ == "made"
    assert made.__doc__ == "Return the arguments."


def test_a_class_without_from_config_says_so() -> None:
    class Without:
        @configurable
        def __init__(self, a: int) -> None:
            self.a = a

    with pytest.raises((TypeError, AttributeError), match="from_config"):
        Without(CFG)


def test_a_function_without_from_config_is_refused() -> None:
    with pytest.raises(TypeError, match="from_config"):
        configurable(lambda a: a)
