"""The thread in which TensorBoard writes."""

import threading
from collections.abc import Callable
from typing import Any

_THREAD = "_AsyncWriterThread"


class RaisedElsewhere:
    """Keep the traceback of an error from the terminal that TensorBoard's thread hands on.

    The thread ends with the error, and Python prints that; whoever writes next gets it raised.
    """

    def __init__(self) -> None:
        self._before: Callable[[Any], Any] | None = None

    def begin(self) -> None:
        """Look at the errors of threads from now on."""
        self._before = threading.excepthook
        threading.excepthook = self._on_error

    def end(self) -> None:
        """Look no longer; not for after an error, which the thread may be about to tell."""
        if self._before is not None and threading.excepthook == self._on_error:
            threading.excepthook = self._before

    def _on_error(self, failure: Any) -> None:
        if isinstance(failure.exc_value, OSError) and type(failure.thread).__name__ == _THREAD:
            return
        assert self._before is not None
        self._before(failure)
