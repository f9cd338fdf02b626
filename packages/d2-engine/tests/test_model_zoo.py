"""The packaged configs by name, and those that are not detectron2's."""

import pytest

from d2_config import instantiate
from d2_engine import model_zoo

CONFIGS = ["finetune/mask_rcnn_r50_fpn.py", "quickstart/mask_rcnn_shapes.py"]
MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN"


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


# ------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", model_zoo.list_config_files())
def test_a_whole_name_means_its_config_and_so_does_the_documented_path(name):
    assert model_zoo.get_config_file(name).endswith(f"/configs/{name}")
    assert model_zoo.get_config_file(f"../configs/{name}") == model_zoo.get_config_file(name)


@pytest.mark.parametrize(
    "short", ["mask_rcnn_R_50_FPN_3x", "mask_rcnn_R_50_FPN_3x.yaml", f"{MASK_RCNN}_3x"]
)
def test_the_folder_and_the_suffix_may_be_left_out_where_one_config_is_meant(short):
    assert model_zoo.get_config_file(short) == model_zoo.get_config_file(f"{MASK_RCNN}_3x.yaml")
    assert model_zoo.get_config(short, trained=True).MODEL.WEIGHTS.endswith(".pkl")


def test_a_name_that_several_configs_have_lists_them():
    with pytest.raises(ValueError, match="'mask_rcnn_R_50_FPN_1x' may mean") as raised:
        model_zoo.get_config_file("mask_rcnn_R_50_FPN_1x")
    for folder in (f"{MASK_RCNN}_1x.py", f"{MASK_RCNN}_1x.yaml", "LVISv1-", "LVISv0.5-"):
        assert folder in str(raised.value)


@pytest.mark.parametrize(
    "part", ["FPN_3x", "R_50_FPN_3x.yaml", "Segmentation/mask_rcnn_R_50_FPN_3x"]
)
def test_a_part_of_a_folder_or_file_name_means_nothing(part):
    with pytest.raises(FileNotFoundError, match="no packaged config of that name"):
        model_zoo.get_config_file(part)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("quickstart/mask_rcnn_shape.py", "quickstart/mask_rcnn_shapes.py"),
        ("mask_rcnn_R_50_FPN_3.yaml", f"{MASK_RCNN}_3x.yaml"),
        ("mask_rcnn_r_50_fpn_3x", f"{MASK_RCNN}_3x.yaml"),
        ("COCO-Detection/mask_rcnn_R_50_FPN_3x.yaml", f"{MASK_RCNN}_3x.yaml"),
        ("my/configs/mask_rcnn_R_50_FPN_3x.yml", f"{MASK_RCNN}_3x.yaml"),
    ],
)
def test_an_unknown_name_lists_those_with_close_file_names_best_first(wanted, meant):
    with pytest.raises(FileNotFoundError) as raised:
        model_zoo.get_config_file(wanted)
    text = str(raised.value)
    assert text.startswith(f"there is no file '{wanted}', and no packaged config of that name.")
    assert f"Did you mean {meant}" in text


def test_a_name_like_no_other_is_sent_to_the_list():
    with pytest.raises(FileNotFoundError, match="The command d2 zoo --all lists them"):
        model_zoo.get_config_file("nope.yaml")


@pytest.mark.parametrize("outside", ["../__init__.py", __file__])
def test_files_elsewhere_are_no_packaged_configs(outside):
    with pytest.raises(FileNotFoundError):
        model_zoo.get_config_file(outside)
