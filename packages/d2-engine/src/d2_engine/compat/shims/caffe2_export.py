"""Caffe2 export, which torch no longer has: the names exist, so that importing them works."""

from typing import Any

from d2_config import CfgNode

_REMEDY = "Caffe2 is no longer part of torch; export the model with torch.onnx or torch.export"


class Caffe2Tracer:
    """Raises: there is no Caffe2 to trace for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(_REMEDY)


class Caffe2Model:
    """Raises: there is no Caffe2 to run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(_REMEDY)


def add_export_config(cfg: CfgNode) -> CfgNode:
    """Add the keys of Caffe2 export to a config, whose files may have them."""
    is_frozen = cfg.is_frozen()
    cfg.defrost()
    cfg.EXPORT_CAFFE2 = CfgNode({"USE_HEATMAP_MAX_KEYPOINT": False})
    if is_frozen:
        cfg.freeze()
    return cfg
