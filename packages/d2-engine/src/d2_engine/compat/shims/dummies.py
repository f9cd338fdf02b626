"""Stand-ins for what an optional package would have given."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn


def create_dummy_class(klass: str, dependency: str | Sequence[str], message: str = "") -> Any:
    """A class whose use says which package is missing."""
    text = _lacking(klass, dependency, message)

    class _Missing(type):
        def __getattr__(cls, name: str) -> NoReturn:
            raise ImportError(text)

    class Dummy(metaclass=_Missing):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise ImportError(text)

    return Dummy


def create_dummy_func(
    func: str, dependency: str | Sequence[str], message: str = ""
) -> Callable[..., Any]:
    """A function whose call says which package is missing."""

    def dummy(*args: Any, **kwargs: Any) -> NoReturn:
        raise ImportError(_lacking(func, dependency, message))

    return dummy


def _lacking(name: str, dependency: str | Sequence[str], message: str) -> str:
    return f"{name} needs {dependency}, which is not installed. {message}".strip()
