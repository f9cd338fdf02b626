"""Functions that pickle cannot name, sent to processes; d2 does not send any."""

from typing import Any

import cloudpickle


class PicklableWrapper:
    """Wraps an object so that pickle takes it, lambdas and local functions included.

    The wrapper can be called, and has the attributes, as the object.
    """

    _obj: Any

    def __init__(self, obj: Any) -> None:
        self._obj = obj._obj if isinstance(obj, PicklableWrapper) else obj

    def __reduce__(self) -> tuple[Any, ...]:
        return _unwrapped, (cloudpickle.dumps(self._obj),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._obj(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_obj":
            raise AttributeError(name)
        return getattr(self._obj, name)


def _unwrapped(content: bytes) -> PicklableWrapper:
    return PicklableWrapper(cloudpickle.loads(content))
