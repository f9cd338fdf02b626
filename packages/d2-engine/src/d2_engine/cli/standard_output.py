"""Standard output whose reader may leave early, as ``head`` does."""

import os
from typing import Any, TextIO


class OutputUntilClosed:
    """Write to a stream until its reader closes it, then write to nowhere: work goes on.

    Args:
        stream: what to write to; everything but writing is left to it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        """Write what is held back."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _let_go(self) -> None:
        # The stream still holds text and tries to write it at exit: give it a place to go.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
