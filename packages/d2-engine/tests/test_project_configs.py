"""Configs of the documented projects: their options, their data, their models."""

import numpy as np
import pytest
import torch
from PIL import Image

from d2_config import get_cfg
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.formats import encode_panoptic_png
from d2_data.transforms import ColorAugSSD, RandomCrop_CategoryAreaConstraint
from d2_engine import model_zoo
from d2_engine.model_zoo.config_loading import load_config_file
from d2_engine.model_zoo.project_options import add_project_options
from d2_engine.run.from_yacs import YacsParts
from d2_engine.run.project_mappers import project_mapper

DEEPLAB = "deeplab_v3_plus_R_103_os16_mg124_poly_90k_bs16"
PANOPTIC = "panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32_crop_512_1024"


def test_a_file_without_parts_of_a_project_changes_no_options():
    cfg = get_cfg()
    before = cfg.dump()
    add_project_options(cfg, {"MODEL": {"MASK_ON": True, "META_ARCHITECTURE": "RetinaNet"}})
    assert cfg.dump() == before


@pytest.mark.parametrize(
    ("content", "section"),
    [
        ({"MODEL": {"POINT_HEAD": {"NUM_FC": 2}}}, "POINT_HEAD"),
        ({"MODEL": {"PROPOSAL_GENERATOR": {"NAME": "TridentRPN"}}}, "TRIDENT"),
        ({"MODEL": {"INS_EMBED_HEAD": {"CONVS_DIM": 8}}}, "PANOPTIC_DEEPLAB"),
        ({"MODEL": {"BACKBONE": {"NAME": "build_timm_fpn_backbone"}}}, "CLASSIFIER"),
    ],
)
def test_a_file_of_ones_own_gets_the_options_of_the_project_it_uses(content, section):
    cfg = get_cfg()
    add_project_options(cfg, content)
    assert section in cfg.MODEL
    added = {"POINT_HEAD", "TRIDENT", "PANOPTIC_DEEPLAB", "CLASSIFIER"} & set(cfg.MODEL)
    assert added == {section}


def test_a_saved_config_is_read_again(tmp_path):
    cfg = model_zoo.get_config(PANOPTIC)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = load_config_file(str(tmp_path / "config.yaml"))
    assert again.dump() == cfg.dump()


def test_semantic_segmentation_crops_behind_the_resizing():
    cfg = model_zoo.get_config(DEEPLAB)
    steps = project_mapper(cfg).augmentations.augs
    assert [type(step).__name__ for step in steps] == [
        "ResizeShortestEdge",
        "RandomCrop_CategoryAreaConstraint",
        "RandomFlip",
    ]
    assert isinstance(steps[1], RandomCrop_CategoryAreaConstraint)
    colours = model_zoo.get_config("pointrend_semantic_R_101_FPN_1x_cityscapes")
    assert isinstance(project_mapper(colours).augmentations.augs[2], ColorAugSSD)
    assert project_mapper(model_zoo.get_config("Misc/semantic_R_50_FPN_1x.yaml")) is None


def narrow(cfg):
    """A config whose model is small, on the CPU."""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    resnets = cfg.MODEL.RESNETS
    resnets.STEM_OUT_CHANNELS = resnets.RES2_OUT_CHANNELS = 8
    resnets.WIDTH_PER_GROUP, resnets.DEPTH, resnets.NORM = 2, 50, "BN"
    for head in (cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.get("INS_EMBED_HEAD", cfg.MODEL.SEM_SEG_HEAD)):
        head.CONVS_DIM = head.ASPP_CHANNELS = 8
        head.PROJECT_CHANNELS = [4] * len(head.PROJECT_CHANNELS)
        head.NORM = "BN"
    cfg.INPUT.CROP.SIZE = [64, 80]
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = [64], 64
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 2, 0
    return cfg


@pytest.fixture
def scenes(tmp_path):
    """A dataset of two pictures with stuff of class 0 and things of class 1."""
    name = f"scenes_of_{tmp_path.name}"
    records = []
    for number in range(2):
        segments = np.full((72, 104), 1)
        segments[10:40, 20:60] = 2
        Image.fromarray(np.uint8(40 * segments)).convert("RGB").save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}_panoptic.png").write_bytes(encode_panoptic_png(segments))
        Image.fromarray(np.uint8(segments - 1)).save(tmp_path / f"{number}_classes.png")
        records.append(
            {
                "file_name": str(tmp_path / f"{number}.png"),
                "sem_seg_file_name": str(tmp_path / f"{number}_classes.png"),
                "pan_seg_file_name": str(tmp_path / f"{number}_panoptic.png"),
                "segments_info": [
                    {"id": i, "category_id": i - 1, "iscrowd": 0} for i in range(1, 3)
                ],
                "image_id": number,
                "height": 72,
                "width": 104,
            }
        )
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(
        ignore_label=255,
        thing_dataset_id_to_contiguous_id={7: 1},
        label_divisor=500,
        stuff_classes=["wall", "door"],
        thing_classes=["door"],
        evaluator_type="sem_seg",
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize("config", [DEEPLAB, PANOPTIC])
def test_data_and_model_of_a_config_go_together(config, scenes):
    cfg = narrow(model_zoo.get_config(config))
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = [scenes]
    model = YacsParts.build_model(cfg)
    batch = next(iter(YacsParts.build_train_loader(cfg)))
    assert {tuple(item["image"].shape) for item in batch} == {(3, 64, 80)}
    losses = model(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    if config == PANOPTIC:
        assert model.thing_ids == {1}
        assert model.label_divisor == 500
    (result,) = model.eval()([{"image": batch[0]["image"], "height": 72, "width": 104}])
    assert result["sem_seg"].shape[-2:] == (72, 104)
