"""The network of a detector that sees the image first."""

from torch import nn

# Where a pyramid, a detector or a wrapper keeps what comes before it.
_EARLIER = ("backbone", "bottom_up", "net")


def find_bottom_up(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the bottom-up network of a model: its backbone without a pyramid.

    Args:
        model: a detector with a ``backbone``, or a backbone, with or without a pyramid.

    Returns:
        The network's name in ``model`` ("" if it is the model itself), and the network.
    """
    path: list[str] = []
    while True:
        for name in _EARLIER:
            inner = getattr(model, name, None)
            if isinstance(inner, nn.Module):
                path.append(name)
                model = inner
                break
        else:
            return ".".join(path), model
