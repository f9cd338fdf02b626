"""A note of use for those who count it; d2 counts nothing."""

import torch


def _log_api_usage(identifier: str) -> None:
    """Tell torch's own usage log, which does nothing unless it is turned on, what is used."""
    torch._C._log_api_usage_once(f"detectron2.{identifier}")
