"""Prediction and pictures, as notebooks and the original's demo make them."""

import attributes_head
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data.detection_utils import read_image
from detectron2.engine.defaults import DefaultPredictor
from detectron2.utils.video_visualizer import VideoVisualizer
from detectron2.utils.visualizer import ColorMode, Visualizer


def setup_cfg(config_file):
    cfg = get_cfg()
    attributes_head.add_attribute_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.WEIGHTS = "weights.pth"
    torch.save({"model": attributes_head.Trainer.build_model(cfg).state_dict()}, "weights.pth")
    return cfg


def show(config_file, path):
    predictor = DefaultPredictor(setup_cfg(config_file))
    image = read_image(path, format="BGR")
    outputs = predictor(image)
    visualizer = Visualizer(
        image[:, :, ::-1], MetadataCatalog.get("__unused"), scale=1.2, instance_mode=ColorMode.IMAGE
    )
    out = visualizer.draw_instance_predictions(outputs["instances"].to("cpu"))
    return out.get_image()[:, :, ::-1]


def show_video(config_file, path, count):
    predictor = DefaultPredictor(setup_cfg(config_file))
    video = VideoVisualizer(MetadataCatalog.get("__unused"), ColorMode.IMAGE)
    image = read_image(path, format="BGR")
    for _ in range(count):
        predictions = predictor(image)["instances"].to("cpu")
        yield video.draw_instance_predictions(image[:, :, ::-1], predictions).get_image()
