"""Models of the zoo by name."""

from torch import nn

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
        ValueError: if several are meant, or ``trained`` and no weights were published.
        ConnectionError: if the weights are not in the cache and cannot be downloaded; says where
            to put the file by hand.

    Example:
        >>> model = get("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", trained=True)
    """
    import torch

    from d2_engine.checkpoint import DetectionCheckpointer
    from d2_engine.run import from_config
    from d2_engine.run.model import build_model
    from d2_engine.run.settings import settings_of

    settings = settings_of(get_config(config_path, trained))
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    plan = from_config(settings if device is None else settings.with_(device=device))
    model = build_model(plan)
    DetectionCheckpointer(model).load(plan.weights)
    return model.train()
