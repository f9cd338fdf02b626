"""The built-in datasets, described by the JSON files of this folder."""

from d2_data.datasets.builtin.registration import register_builtin

__all__ = ["register_builtin"]
