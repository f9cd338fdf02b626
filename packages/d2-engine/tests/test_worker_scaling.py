"""One config for any number of processes."""

import pytest

from d2_config import get_cfg
from d2_engine.defaults import DefaultTrainer


@pytest.fixture
def cfg():
    """The example of the documentation."""
    cfg = get_cfg()
    cfg.SOLVER.update(
        IMS_PER_BATCH=16,
        BASE_LR=0.1,
        REFERENCE_WORLD_SIZE=8,
        MAX_ITER=5000,
        STEPS=(4000,),
        CHECKPOINT_PERIOD=1000,
        WARMUP_ITERS=100,
    )
    cfg.TEST.EVAL_PERIOD = 500
    return cfg


def test_the_documented_example_is_scaled_as_documented(cfg):
    scaled = DefaultTrainer.auto_scale_workers(cfg, 16)
    solver = scaled.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.REFERENCE_WORLD_SIZE) == (32, 0.2, 16)
    assert (solver.MAX_ITER, solver.STEPS, solver.CHECKPOINT_PERIOD) == (2500, (2000,), 500)
    assert (solver.WARMUP_ITERS, scaled.TEST.EVAL_PERIOD) == (50, 250)
    assert cfg.SOLVER.IMS_PER_BATCH == 16


def test_fewer_processes_train_longer(cfg):
    scaled = DefaultTrainer.auto_scale_workers(cfg, 1)
    assert (scaled.SOLVER.IMS_PER_BATCH, scaled.SOLVER.MAX_ITER) == (2, 40000)


@pytest.mark.parametrize("reference", [0, 16])
def test_nothing_changes_without_a_reference_or_with_that_number(cfg, reference):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = reference
    assert DefaultTrainer.auto_scale_workers(cfg, 16) is cfg


def test_a_frozen_config_gives_a_frozen_one(cfg):
    cfg.freeze()
    assert DefaultTrainer.auto_scale_workers(cfg, 4).is_frozen()


def test_a_batch_that_cannot_be_divided_is_refused(cfg):
    cfg.SOLVER.IMS_PER_BATCH = 12
    with pytest.raises(ValueError, match="IMS_PER_BATCH=12 cannot be divided among"):
        DefaultTrainer.auto_scale_workers(cfg, 16)
