"""Models that leave Python: graphs of tensors, and the files made of them."""

from .graph import INPUT_NAMES, OUTPUT_NAMES, ExportableModel, output_kind

__all__ = ["INPUT_NAMES", "OUTPUT_NAMES", "ExportableModel", "output_kind"]
