"""Convert configs between versions of the key names.

Version 1 moved ``MODEL.RPN_HEAD.NAME``; version 2 renamed many keys and gave RPN and RetinaNet a
common anchor generator.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cfg_node import CfgNode

LATEST_VERSION = 2

# _RENAMED[v] leads from version v to version v + 1.
_RENAMED: tuple[dict[str, str], ...] = (
    {"MODEL.RPN_HEAD.NAME": "MODEL.RPN.HEAD_NAME"},
    {
        "MODEL.WEIGHT": "MODEL.WEIGHTS",
        "MODEL.PANOPTIC_FPN.SEMANTIC_LOSS_SCALE": "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
        "MODEL.PANOPTIC_FPN.RPN_LOSS_SCALE": "MODEL.RPN.LOSS_WEIGHT",
        "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_SCALE": "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT",
        "MODEL.PANOPTIC_FPN.COMBINE_ON": "MODEL.PANOPTIC_FPN.COMBINE.ENABLED",
        "MODEL.PANOPTIC_FPN.COMBINE_OVERLAP_THRESHOLD": (
            "MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH"
        ),
        "MODEL.PANOPTIC_FPN.COMBINE_STUFF_AREA_LIMIT": (
            "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT"
        ),
        "MODEL.PANOPTIC_FPN.COMBINE_INSTANCES_CONFIDENCE_THRESHOLD": (
            "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH"
        ),
        "MODEL.ROI_HEADS.SCORE_THRESH": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
        "MODEL.ROI_HEADS.NMS": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
        "MODEL.RETINANET.INFERENCE_SCORE_THRESHOLD": "MODEL.RETINANET.SCORE_THRESH_TEST",
        "MODEL.RETINANET.INFERENCE_TOPK_CANDIDATES": "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
        "MODEL.RETINANET.INFERENCE_NMS_THRESHOLD": "MODEL.RETINANET.NMS_THRESH_TEST",
        "TEST.DETECTIONS_PER_IMG": "TEST.DETECTIONS_PER_IMAGE",
        "TEST.AUG_ON": "TEST.AUG.ENABLED",
        "TEST.AUG_MIN_SIZES": "TEST.AUG.MIN_SIZES",
        "TEST.AUG_MAX_SIZE": "TEST.AUG.MAX_SIZE",
        "TEST.AUG_FLIP": "TEST.AUG.FLIP",
    },
)
_ANCHOR_KEYS = {"ANCHOR_SIZES": "SIZES", "ANCHOR_ASPECT_RATIOS": "ASPECT_RATIOS"}


def upgrade_config(cfg: "CfgNode", to_version: int | None = None) -> "CfgNode":
    """Return ``cfg`` converted from its version to a newer one.

    Args:
        cfg: a config with a ``VERSION``; it is left unchanged.
        to_version: by default the latest.

    Raises:
        ValueError: if ``to_version`` is older than ``cfg`` or unknown.
    """
    target = LATEST_VERSION if to_version is None else to_version
    _check_versions(cfg.VERSION, target, upgrade=True)
    converted = cfg.clone()
    converted.defrost()
    for version in range(cfg.VERSION, target):
        for old, new in _RENAMED[version].items():
            _move(converted, old, new)
        if version == 1:
            _join_anchor_generators(converted)
        converted.VERSION = version + 1
    return converted


def downgrade_config(cfg: "CfgNode", to_version: int) -> "CfgNode":
    """Return ``cfg`` converted from its version to an older one.

    Made for recovering the old names of the defaults, so that an old partial config can be merged
    into them; what an old version cannot express is lost.

    Args:
        cfg: a config with a ``VERSION``; it is left unchanged.
        to_version: the older version.

    Raises:
        ValueError: if ``to_version`` is newer than ``cfg`` or unknown.
    """
    _check_versions(cfg.VERSION, to_version, upgrade=False)
    converted = cfg.clone()
    converted.defrost()
    for version in range(cfg.VERSION - 1, to_version - 1, -1):
        for old, new in _RENAMED[version].items():
            _move(converted, new, old)
        if version == 1:
            _split_anchor_generators(converted)
        converted.VERSION = version
    return converted


def guess_version(keys: Mapping[str, Any]) -> int:
    """Return the version of a partial config that does not state it."""
    if _get(keys, "MODEL.WEIGHT") is not _ABSENT or _get(keys, "TEST.AUG_ON") is not _ABSENT:
        return 1
    return LATEST_VERSION


def current_name(old_name: str) -> str | None:
    """Return the latest name of a key that an older version had, or ``None``."""
    name = old_name
    for renamed in _RENAMED:
        name = renamed.get(name, name)
    return name if name != old_name else None


def _check_versions(have: int, want: int, *, upgrade: bool) -> None:
    low, high = (have, want) if upgrade else (want, have)
    if not 0 <= low <= high <= LATEST_VERSION:
        verb = "upgraded" if upgrade else "downgraded"
        raise ValueError(
            f"a config of version {have} cannot be {verb} to version {want}; "
            f"known versions are 0 to {LATEST_VERSION}"
        )


def _join_anchor_generators(cfg: "CfgNode") -> None:
    model = cfg.get("MODEL", {})
    is_retinanet = model.get("META_ARCHITECTURE") == "RetinaNet"
    kept, dropped = ("RETINANET", "RPN") if is_retinanet else ("RPN", "RETINANET")
    for old, new in _ANCHOR_KEYS.items():
        _move(cfg, f"MODEL.{kept}.{old}", f"MODEL.ANCHOR_GENERATOR.{new}")
        _delete(cfg, f"MODEL.{dropped}.{old}")
    _delete(cfg, "MODEL.RETINANET.ANCHOR_STRIDES")


def _split_anchor_generators(cfg: "CfgNode") -> None:
    for old, new in _ANCHOR_KEYS.items():
        value = _get(cfg, f"MODEL.ANCHOR_GENERATOR.{new}")
        if value is not _ABSENT:
            _move(cfg, f"MODEL.ANCHOR_GENERATOR.{new}", f"MODEL.RPN.{old}")
            _set(cfg, f"MODEL.RETINANET.{old}", value)
    _set(cfg, "MODEL.RETINANET.ANCHOR_STRIDES", [])  # existed, had no effect in any version


_ABSENT = object()


def _prefixes(path: str) -> Iterator[tuple[list[str], str]]:
    """Yield the parents and the name of each node on the way down to ``path``, deepest first."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        yield parts[: end - 1], parts[end - 1]


def _get(node: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _set(cfg: "CfgNode", path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node = cfg
    for part in parents:
        node = node.setdefault(part, type(cfg)())
    node[last] = value


def _delete(cfg: "CfgNode", path: str) -> None:
    """Delete a key, and the sections that it leaves empty."""
    for index, (parents, last) in enumerate(_prefixes(path)):
        holder: Any = _get(cfg, ".".join(parents)) if parents else cfg
        if holder is _ABSENT or last not in holder:
            return
        if index > 0 and len(holder[last]) > 0:
            return
        del holder[last]


def _move(cfg: "CfgNode", old: str, new: str) -> None:
    value = _get(cfg, old)
    if value is not _ABSENT:
        _set(cfg, new, value)
        _delete(cfg, old)
