"""Smaller learning rates for earlier layers of a backbone."""

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from d2_engine.bottom_up import find_bottom_up
from d2_modeling.backbone import ViT, get_vit_lr_decay_rate


def layer_decay_factor(
    model: nn.Module, decay: float, *, blocks: bool = False
) -> Callable[[str], float]:
    """Make the function that gives each parameter its factor on the learning rate.

    The layers of the bottom-up network are its parts in order: the stem and the stages of a
    convolutional network, the patch embedding (with the positions) and the blocks of a
    transformer. The last has the factor ``decay``, each before it that of the next one times
    ``decay``. What comes behind the network (pyramid, heads) has the factor 1.

    Args:
        model: a detector with a ``backbone``.
        decay: factor from one layer to the one before, in (0, 1], e.g. 0.7.
        blocks: count every block of a stage as a layer, as those of a transformer always are.

    Returns:
        The ``lr_factor_func`` of :func:`get_default_optimizer_params`: full name -> factor.

    Raises:
        ValueError: if ``decay`` is out of range, or the model has no backbone with parameters.

    Example:
        >>> get_default_optimizer_params(
        ...     model, base_lr=1e-4, lr_factor_func=layer_decay_factor(model, 0.7)
        ... )

    Source: Bao et al., "BEiT", 2022, section 3.2.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layer-wise decay of the learning rate is in (0, 1], got {decay}")
    path, network = find_bottom_up(model)
    if isinstance(network, ViT) and path.startswith("backbone"):
        depth = len(network.blocks)
        return partial(get_vit_lr_decay_rate, lr_decay_rate=decay, num_layers=depth)
    layers = list(_layers(network, blocks=blocks))
    if not path or not layers:
        raise ValueError(
            "layer-wise decay of the learning rate wants a model with a backbone that has "
            f"parameters; {type(model).__name__} has none"
        )
    return partial(
        _factor, inside=f"{path}.", prefixes=[f"{path}.{name}." for name in layers], decay=decay
    )


def _layers(network: nn.Module, *, blocks: bool, path: str = "") -> Iterator[str]:
    """Names of the layers in order; a list of layers stands for its members."""
    for name, child in network.named_children():
        if next(child.parameters(), None) is None:
            continue
        if isinstance(child, nn.ModuleList) or (blocks and isinstance(child, nn.Sequential)):
            yield from _layers(child, blocks=blocks, path=f"{path}{name}.")
        else:
            yield f"{path}{name}"


def _factor(name: str, *, inside: str, prefixes: list[str], decay: float) -> float:
    if not name.startswith(inside):
        return 1.0
    # Parameters of the network itself (positions, tokens) belong to its beginning.
    layer = next((i for i, prefix in enumerate(prefixes) if name.startswith(prefix)), 0)
    return decay ** (len(prefixes) - layer)
