"""A table from names to the classes and functions that go by them."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, overload

from .errors import ConfigKeyError, did_you_mean

T = TypeVar("T")
Registered = TypeVar("Registered", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Map names to objects, so that a config can name code that its reader never imported.

    ::

        BACKBONE_REGISTRY = Registry("BACKBONE")

        @BACKBONE_REGISTRY.register()
        class MyBackbone: ...

        BACKBONE_REGISTRY.register(OtherBackbone)
        BACKBONE_REGISTRY.get("MyBackbone")
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._objects: dict[str, T] = {}

    @overload
    def register(self, obj: None = None) -> Callable[[Registered], Registered]: ...

    @overload
    def register(self, obj: Registered) -> Registered: ...

    def register(self, obj: Any = None) -> Any:
        """Register ``obj`` under its ``__name__``; without ``obj``, return a decorator that does.

        Returns:
            ``obj`` itself, so that both forms can be used as decorators.

        Raises:
            ValueError: if the name is taken already.
            TypeError: if ``obj`` has no ``__name__``.
        """
        if obj is None:
            return self.register
        name = getattr(obj, "__name__", None)
        if name is None:
            raise TypeError(
                f"only classes and functions can be registered in {self._name}, got {obj!r}"
            )
        if name in self._objects:
            raise ValueError(
                f"{name!r} is already registered in {self._name} as {self._objects[name]!r}; "
                "choose another name for the new object"
            )
        self._objects[name] = obj
        return obj

    def get(self, name: str) -> T:
        """Return the object registered as ``name``.

        Raises:
            ConfigKeyError: (a ``KeyError``) naming the registry and the closest names in it.
        """
        try:
            return self._objects[name]
        except KeyError:
            message = f"no object named {name!r} in registry {self._name}."
            message += did_you_mean(str(name), self._objects)
            message += f" Registered: {', '.join(sorted(self._objects)) or 'nothing'}."
            raise ConfigKeyError(message) from None

    def __contains__(self, name: object) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(self._objects.items())

    def __len__(self) -> int:
        return len(self._objects)

    def __repr__(self) -> str:
        width = max(map(len, self._objects), default=0)
        lines = [f"  {name:<{width}}  {obj!r}" for name, obj in self._objects.items()]
        return "\n".join([f"Registry of {self._name}:", *lines])
