"""Where the compiled libraries of this package lie."""

from __future__ import annotations

from importlib.util import find_spec


def path_of(library: str) -> str | None:
    """The path of a library, or None where the package holds none of the name."""
    # Asking the import system instead of looking beside this file also serves editable installs.
    spec = find_spec(f"{__package__}.{library}")
    return spec.origin if spec is not None else None
