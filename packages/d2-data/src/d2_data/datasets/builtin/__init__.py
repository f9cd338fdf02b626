"""The built-in datasets, described by the JSON files of this folder."""

from d2_data.datasets.builtin.registration import register_builtin
from d2_data.datasets.builtin.vocabularies import read_vocabulary

__all__ = ["read_vocabulary", "register_builtin"]
