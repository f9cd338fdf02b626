"""Parts of ``default_setup`` that projects call by themselves."""

from importlib import import_module
from typing import Any

from omegaconf import OmegaConf

from d2_config import CfgNode


def _try_get_key(cfg: Any, *keys: str, default: Any = None) -> Any:
    """The value of the first of several dotted keys that a config of either kind has."""
    if isinstance(cfg, CfgNode):
        cfg = OmegaConf.create(cfg.dump())
    elif not OmegaConf.is_config(cfg):
        cfg = OmegaConf.create(cfg)
    for key in keys:
        missing = object()
        found = OmegaConf.select(cfg, key, default=missing)
        if found is not missing:
            return found
    return default


def _highlight(code: str, filename: str) -> str:
    """Code coloured for a terminal where pygments is installed, otherwise as it is."""
    try:
        pygments: Any = import_module("pygments")
        formatters: Any = import_module("pygments.formatters")
        lexers: Any = import_module("pygments.lexers")
    except ImportError:
        return code
    lexer = lexers.Python3Lexer() if filename.endswith(".py") else lexers.YamlLexer()
    return str(pygments.highlight(code, lexer, formatters.Terminal256Formatter(style="monokai")))
