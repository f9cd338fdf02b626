"""Arguments of loaders out of a config, which custom loaders extend."""

from typing import Any

from d2_data import build_detection_test_loader, build_detection_train_loader

_train_loader_from_config: Any = build_detection_train_loader.from_config
_test_loader_from_config: Any = build_detection_test_loader.from_config
