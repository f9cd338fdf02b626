"""Builders that several test modules share."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2_data.datasets.shapes import generate_shapes


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference values and real data; tests that need it skip where it is absent."""
    repository = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("D2_SHARED", repository.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} does not exist (set D2_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def _fresh_loggers() -> Iterator[None]:
    """Undo what ``setup_logger`` does to the loggers of the whole process."""
    yield
    for name in ("d2", *(n for n in logging.root.manager.loggerDict if n.startswith("d2_"))):
        logger = logging.getLogger(name)
        logger.propagate = True
        for handler in [h for h in logger.handlers if type(h).__module__ != "_pytest.logging"]:
            logger.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny dataset in COCO's format: ``instances.json`` and ``images/``."""
    root = tmp_path_factory.mktemp("shapes") / "tiny"
    generate_shapes(root, 12, image_size=64, seed=3)
    return root


@pytest.fixture(scope="session")
def tiny_config(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart config, smaller still, on that dataset; as a user would write it."""
    config = tmp_path_factory.mktemp("config") / "tiny.py"
    config.write_text(
        f"""
from d2_config import LazyCall as L
from d2_config import LazyConfig
from d2_engine.coco_folder import coco_folder
from d2_engine.model_zoo import get_config_file

_base = LazyConfig.load(get_config_file("quickstart/mask_rcnn_shapes.py"))
dataloader, model, optimizer = _base.dataloader, _base.model, _base.optimizer
train, lr_multiplier = _base.train, _base.lr_multiplier

data = {{
    "train": {{"json": {str(shapes / "instances.json")!r}, "images": {str(shapes / "images")!r}}},
    "val": {{"json": {str(shapes / "instances.json")!r}, "images": {str(shapes / "images")!r}}},
}}
for _split, _part in (("train", dataloader.train), ("val", dataloader.test)):
    _part.dataset.names = L(coco_folder)(
        json_file=f"${{{{data.{{_split}}.json}}}}",
        image_root=f"${{{{data.{{_split}}.images}}}}",
        option=f"data.{{_split}}",
    )
    _part.mapper.augmentations[0].short_edge_length = 64
dataloader.train.total_batch_size = 2
train.max_iter = 6
train.log_period = 1
train.device = "cpu"
train.checkpointer.period = 3
model.proposal_generator.post_nms_topk = (50, 30)
model.roi_heads.batch_size_per_image = 8
model.roi_heads.box_predictor.test_topk_per_image = 20
"""
    )
    return config
