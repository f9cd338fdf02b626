"""Files that are written whole or not at all, and files that are named by URL.

Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .atomic_file import (
        DiskFullError,
        append_whole,
        full_disk_error,
        naming_full_disk,
        remove_leftovers,
        replacing,
        write_atomically,
    )
    from .remote_files import cache_folder, fetch, local_path, web_address

__all__ = [
    "DiskFullError",
    "append_whole",
    "cache_folder",
    "fetch",
    "full_disk_error",
    "local_path",
    "naming_full_disk",
    "remove_leftovers",
    "replacing",
    "web_address",
    "write_atomically",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DiskFullError": "atomic_file",
        "append_whole": "atomic_file",
        "cache_folder": "remote_files",
        "fetch": "remote_files",
        "full_disk_error": "atomic_file",
        "local_path": "remote_files",
        "naming_full_disk": "atomic_file",
        "remove_leftovers": "atomic_file",
        "replacing": "atomic_file",
        "web_address": "remote_files",
        "write_atomically": "atomic_file",
    },
)
