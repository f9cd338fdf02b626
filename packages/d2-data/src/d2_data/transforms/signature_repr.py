"""The printed form that transforms and augmentations share."""

import inspect
import pprint


def signature_repr(instance: object) -> str:
    """``Name(field=value, …)`` from the constructor's parameters that are not defaults.

    Each parameter is read from the attribute of the same name; one that is not kept
    under its name is left out. Values that take several lines are shown as ``...``.
    """
    name = type(instance).__name__
    shown = []
    for parameter in inspect.signature(type(instance)).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not hasattr(instance, parameter.name):
            continue
        value = getattr(instance, parameter.name)
        if value is parameter.default or (
            isinstance(value, str | int | float | tuple | list) and value == parameter.default
        ):
            continue
        text = pprint.pformat(value)
        shown.append(f"{parameter.name}={'...' if chr(10) in text else text}")
    return f"{name}({', '.join(shown)})"
