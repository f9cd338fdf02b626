"""The options that configs of documented projects and of wrapped models have beyond others."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from d2_config import CfgNode

Add = Callable[[CfgNode], None]


def add_project_options(cfg: CfgNode, content: Mapping[str, Any]) -> None:
    """Add to a config, in place, the options of each project that a file makes use of.

    That is one whose options the file has, or whose parts it names. Another file leaves the
    config alone, and imports no model.

    Args:
        cfg: the config that the file is going to change.
        content: of the file, with its bases.
    """
    unknown = set(_paths(content)) - set(_paths(cfg)) - {_OF_SEVERAL}
    named = {value for value in _values(content) if isinstance(value, str)}
    if not unknown and not named & set().union(*_PARTS.values()):
        return
    for project, add in _projects().items():
        extended = cfg.clone()
        add(extended)
        added = set(_paths(extended)) - set(_paths(cfg))
        if added & unknown or named & _PARTS[project]:
            add(cfg)
            unknown -= added


_OF_SEVERAL = ("INPUT", "CROP", "SINGLE_CATEGORY_MAX_AREA")
"""An option of several projects, which tells none of them."""

# Panoptic-DeepLab has the options of DeepLab, too, and comes behind it: what is left tells.
_PARTS = {
    "point_rend": {
        *("PointRendMaskHead", "ImplicitPointRendMaskHead", "PointRendSemSegHead"),
        *("StandardPointHead", "ImplicitPointHead"),
    },
    "trident_net": {
        *("build_trident_resnet_backbone", "TridentRPN"),
        *("TridentRes5ROIHeads", "TridentStandardROIHeads"),
    },
    "deeplab": {
        *("build_resnet_deeplab_backbone", "DeepLabV3Head", "DeepLabV3PlusHead"),
        "WarmupPolyLR",
    },
    "classifier": {
        *("build_torchvision_backbone", "build_timm_backbone"),
        *("build_torchvision_fpn_backbone", "build_timm_fpn_backbone"),
        *("build_retinanet_torchvision_fpn_backbone", "build_retinanet_timm_fpn_backbone"),
        *("build_torchvision_simple_pyramid_backbone", "build_timm_simple_pyramid_backbone"),
    },
    "panoptic_deeplab": {
        *("PanopticDeepLab", "PanopticDeepLabSemSegHead", "PanopticDeepLabInsEmbedHead"),
    },
}
"""Project -> names of its parts that configs use."""


def _projects() -> dict[str, Add]:
    from d2_modeling.backbone import add_classifier_config
    from d2_modeling.deeplab import add_deeplab_config
    from d2_modeling.panoptic_deeplab import add_panoptic_deeplab_config
    from d2_modeling.point_rend import add_pointrend_config
    from d2_modeling.trident_net import add_tridentnet_config

    return {
        "point_rend": add_pointrend_config,
        "trident_net": add_tridentnet_config,
        "deeplab": add_deeplab_config,
        "classifier": add_classifier_config,
        "panoptic_deeplab": add_panoptic_deeplab_config,
    }


def _paths(section: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys, sections included."""
    for key, value in section.items():
        yield (*above, str(key))
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, str(key)))


def _values(section: Mapping[str, Any]) -> Iterator[Any]:
    for value in section.values():
        if isinstance(value, Mapping):
            yield from _values(value)
        else:
            yield value
