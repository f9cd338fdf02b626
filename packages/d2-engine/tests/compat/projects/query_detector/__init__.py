"""A project as they are written for detectron2: a detector of learned queries."""

from .config import add_query_config
from .mapper import QueryDatasetMapper
from .meta_arch import QueryDetector

__all__ = ["QueryDatasetMapper", "QueryDetector", "add_query_config"]
