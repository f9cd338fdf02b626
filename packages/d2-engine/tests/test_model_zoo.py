"""The packaged lazy configs."""

import pytest

from d2_config import instantiate
from d2_engine import model_zoo

CONFIGS = ["finetune/mask_rcnn_r50_fpn.py", "quickstart/mask_rcnn_shapes.py"]


def test_configs_that_others_build_on_are_not_listed():
    listed = model_zoo.list_config_files()
    assert set(CONFIGS) < set(listed)
    assert not any(name.startswith(("common/", "parts/")) or "Base-" in name for name in listed)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_packaged_config_builds_its_model_optimizer_and_schedule(name):
    cfg = model_zoo.get_config(name)
    if cfg.model.roi_heads.num_classes is None:
        cfg.model.roi_heads.num_classes = 2
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    schedule = instantiate(cfg.lr_multiplier)
    assert 0 < schedule(0.0) < schedule(0.2) <= 1
    assert schedule(0.99) < 0.1


@pytest.mark.parametrize("name", CONFIGS)
def test_a_packaged_config_explains_itself(name):
    with open(model_zoo.get_config_file(name), encoding="utf-8") as file:
        assert file.read().startswith('"""')


def test_an_unknown_name_lists_close_ones():
    with pytest.raises(FileNotFoundError, match=r"Did you mean quickstart/mask_rcnn_shapes\.py"):
        model_zoo.get_config("quickstart/mask_rcnn_shape.py")
