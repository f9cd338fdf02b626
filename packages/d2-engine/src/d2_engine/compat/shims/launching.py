"""Parts of starting processes."""

import socket

from d2_engine.launcher import DEFAULT_TIMEOUT

__all__ = ["DEFAULT_TIMEOUT", "_find_free_port"]


def _find_free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
