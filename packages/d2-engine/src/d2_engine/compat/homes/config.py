"""``detectron2.config`` and ``detectron2.model_zoo``."""

from d2_engine.compat.module_map import each, home

_DEFAULTS = each(".shims.default_config", "_C", "get_cfg")
_DATACLASSES = each(".shims.dataclass_configs", "dump_dataclass")

MODULES = {
    "detectron2.config": home("d2_config", names=_DEFAULTS),
    "detectron2.config.compat": home("d2_config"),
    "detectron2.config.config": home("d2_config", names=_DEFAULTS),
    "detectron2.config.defaults": home("d2_config", names=_DEFAULTS | {"CN": "d2_config:CfgNode"}),
    "detectron2.config.instantiate": home("d2_config", names=_DATACLASSES),
    "detectron2.config.lazy": home("d2_config"),
    "detectron2.model_zoo": home("d2_engine.model_zoo"),
    "detectron2.model_zoo.model_zoo": home("d2_engine.model_zoo"),
}
