"""Models of the zoo by name."""

from omegaconf import OmegaConf
from torch import nn

from d2_config import CfgNode, instantiate
from d2_engine.model_zoo.config_loading import get_config


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """Build the model of a packaged config and load the weights that its config names.

    Args:
        config_path: as for :func:`get_config_file`.
        trained: as for :func:`get_config`. Otherwise the weights are those that training starts
            from; to download nothing, build the model from the config instead.
        device: where to put the model; by default where the config says, or on the CPU if
            there is no CUDA device.

    Returns:
        The model in training mode.

    Raises:
        FileNotFoundError: if there is no such config; names close matches.
        ValueError: if ``trained`` and no weights were published.
        ConnectionError: if the weights are not in the cache and cannot be downloaded; says where
            to put the file by hand.

    Example:
        >>> model = get("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", trained=True)
    """
    import torch

    from d2_engine.checkpoint import DetectionCheckpointer
    from d2_engine.devices import choose_device
    from d2_modeling import build_model

    cfg = get_config(config_path, trained)
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    if isinstance(cfg, CfgNode):
        cfg.MODEL.DEVICE = device or cfg.MODEL.DEVICE
        model, weights = build_model(cfg), cfg.MODEL.WEIGHTS
    else:
        wanted = device or OmegaConf.select(cfg, "train.device", default="auto")
        model = instantiate(cfg.model).to(choose_device(wanted))
        weights = OmegaConf.select(cfg, "train.init_checkpoint", default="")
    DetectionCheckpointer(model).load(weights)
    return model.train()
