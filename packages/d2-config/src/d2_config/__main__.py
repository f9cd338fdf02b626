"""Show a config: ``python -m d2_config FILE [KEY=VALUE ...] [--diff OTHER] [--python]``."""

import argparse
import copy
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import OmegaConf

from .cfg_node import CfgNode
from .cfg_text import is_yacs_file
from .defaults import get_cfg
from .errors import ConfigKeyError
from .key_paths import join
from .lazy_config import LazyConfig
from .nodes import dangling_interpolations, is_mapping, is_sequence, written_children
from .overrides import override_pairs
from .saving import to_yaml


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments; by default those of the process.

    Returns:
        0; 1 if ``--diff`` found differences; 2 after an error, which is told in one message.
    """
    options = _parser().parse_intermixed_args(argv)
    try:
        cfg = load(options.file, options.overrides)
        if options.diff:
            differences = diff(cfg, load(options.diff, []))
            print("\n".join(differences) or "no difference")
            return 1 if differences else 0
        print(LazyConfig.to_py(cfg) if options.python else _as_yaml(cfg).rstrip())
    except SyntaxError as error:
        print(f"error: {error.msg}", file=sys.stderr)
        return 2
    except (OSError, KeyError, TypeError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def load(filename: str, overrides: Sequence[str]) -> Any:
    """Load a config of either kind and apply overrides to it.

    A YAML file whose top keys are all upper case is merged into the default config; every other
    file is a lazy config, whose interpolations are resolved.

    Args:
        filename: a ``.py``, ``.yaml`` or ``.yml`` file.
        overrides: ``key=value`` texts; for lazy configs in Hydra's grammar.

    Raises:
        ConfigKeyError: (a ``KeyError``) for unknown keys and interpolations that lead nowhere.
        ValueError: for overrides and files that cannot be read.
    """
    if is_yacs_file(filename):
        return _load_yacs(filename, overrides)
    cfg = LazyConfig.apply_overrides(LazyConfig.load(filename), overrides)
    dangling = dangling_interpolations(cfg)
    if dangling:
        raise ConfigKeyError(f"{filename}: {'; '.join(dangling)}")
    cfg = copy.deepcopy(cfg)
    OmegaConf.resolve(cfg)
    return cfg


def diff(cfg: Any, other: Any) -> list[str]:
    """Return the lines ``- path: value`` of ``cfg`` and ``+ path: value`` of ``other`` that differ.

    Args:
        cfg: a config node of either kind.
        other: the config to compare it with.
    """
    ours, theirs = dict(_leaves(cfg, "")), dict(_leaves(other, ""))
    lines: list[str] = []
    for path in {**ours, **theirs}:
        if path in ours and path in theirs and ours[path] == theirs[path]:
            continue
        sides = (("-", ours), ("+", theirs))
        lines += [f"{sign} {path}: {side[path]!r}" for sign, side in sides if path in side]
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m d2_config",
        description="Print a config with its bases, imports, overrides and references resolved.",
    )
    parser.add_argument("file", metavar="FILE", help=".py (which is run), .yaml or .yml")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="changes to apply; in lazy configs also +KEY=VALUE to add and ~KEY to delete",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--diff", metavar="OTHER", help="print what differs from OTHER")
    shown.add_argument("--python", action="store_true", help="print Python code")
    return parser


def _load_yacs(filename: str, overrides: Sequence[str]) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(filename)
    cfg.merge_from_list(override_pairs(overrides))
    return cfg


def _as_yaml(cfg: Any) -> str:
    if isinstance(cfg, CfgNode):
        return cfg.dump()
    text, _ = to_yaml(cfg)
    return text


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if (is_mapping(value) or is_sequence(value)) and len(value) > 0:
        for key, child in written_children(value):
            yield from _leaves(child, join(path, key))
    else:
        yield path, list(value) if is_sequence(value) else value


if __name__ == "__main__":
    sys.exit(main())
