"""Small scenes against pictures that a person has looked at.

The comparison averages 4×4 pixels first, so another version of the font renderer passes and a
moved line, a missing label or another colour does not. After an intended change look at the
pictures that the failing tests write, and copy them to ``golden_pictures``.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2_structures import Boxes, Instances
from d2_structures.visualizer import ColorMode, VideoVisualizer, Visualizer

GOLDEN = Path(__file__).parent / "golden_pictures"
HEIGHT, WIDTH = 120, 176
METADATA = SimpleNamespace(
    thing_classes=["ball", "box"],
    thing_colors=[(220, 60, 60), (60, 90, 220)],
    stuff_classes=["sky", "sand"],
    stuff_colors=[(90, 160, 230), (220, 190, 110)],
    keypoint_names=["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"],
    keypoint_connection_rules=[
        ("left_shoulder", "right_shoulder", (255, 160, 0)),
        ("left_shoulder", "left_hip", (0, 200, 80)),
        ("right_shoulder", "right_hip", (0, 120, 255)),
    ],
)


def background():
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([90 + ys // 2, 140 - ys // 3, 100 + xs // 3], axis=2)
    return image.astype(np.uint8)


def disc(cx, cy, rx, ry):
    ys, xs = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return ((xs - cx) / rx) ** 2 + ((ys - cy) / ry) ** 2 < 1


def predictions():
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.tensor([[20.0, 30, 80, 90], [60, 50, 130, 110], [140, 8, 172, 30]])),
        pred_classes=torch.tensor([0, 1, 0]),
        scores=torch.tensor([0.98, 0.71, 0.5]),
        pred_masks=torch.from_numpy(
            np.stack([disc(50, 60, 30, 30), disc(95, 80, 35, 30), disc(156, 19, 16, 11)])
        ),
    )


def draw_image_mode():
    return Visualizer(background(), METADATA).draw_instance_predictions(predictions())


def draw_segmentation_mode():
    visualizer = Visualizer(background(), METADATA, instance_mode=ColorMode.SEGMENTATION)
    return visualizer.draw_instance_predictions(predictions())


def draw_grey_mode_enlarged():
    visualizer = Visualizer(background(), METADATA, 1.5, ColorMode.IMAGE_BW)
    return visualizer.draw_instance_predictions(predictions())


def draw_semantic():
    seg = np.where(np.mgrid[:HEIGHT, :WIDTH][0] > 60 + 20 * disc(88, 60, 60, 60), 1, 0)
    seg[disc(150, 100, 20, 15)] = 255
    return Visualizer(background(), METADATA).draw_sem_seg(seg, alpha=0.6)


def draw_panoptic():
    seg = np.where(np.mgrid[:HEIGHT, :WIDTH][0] > 70, 1, 2)
    seg[disc(50, 60, 30, 30)] = 3
    seg[disc(120, 80, 30, 20)] = 4
    seg[disc(165, 10, 20, 20)] = 0
    infos = [
        {"id": 1, "category_id": 1, "isthing": False},
        {"id": 2, "category_id": 0, "isthing": False},
        {"id": 3, "category_id": 0, "isthing": True, "score": 0.9},
        {"id": 4, "category_id": 1, "isthing": True},
    ]
    return Visualizer(background(), METADATA).draw_panoptic_seg(torch.from_numpy(seg), infos)


def draw_annotations():
    annotations = [
        {
            "bbox": [15, 20, 60, 80],
            "bbox_mode": 1,
            "category_id": 0,
            "segmentation": [[20, 25, 70, 40, 60, 95, 18, 80]],
            "keypoints": [45, 30, 2, 60, 50, 2, 30, 50, 2, 55, 80, 2, 35, 80, 1],
        },
        {
            "bbox": [100, 40, 160, 100],
            "bbox_mode": 0,
            "category_id": 1,
            "iscrowd": 1,
            "segmentation": [[100, 40, 160, 40, 130, 70], [110, 75, 150, 75, 130, 100]],
        },
    ]
    return Visualizer(background(), METADATA).draw_dataset_dict({"annotations": annotations})


def draw_rotated_boxes():
    boxes = np.array([[50, 60, 60, 30, 30], [120, 60, 60, 30, -60], [150, 30, 30, 14, 0]])
    labels = ["30°", "-60°", "0°"]
    return Visualizer(background()).overlay_rotated_instances(boxes, labels)


def draw_primitives():
    visualizer = Visualizer(np.full((HEIGHT, WIDTH, 3), 235, np.uint8))
    for row, style in enumerate(["-", "--", "-.", ":"]):
        visualizer.draw_line([8, 80], [8 + 8 * row, 14 + 8 * row], f"C{row}", style, 2)
        visualizer.draw_box((92 + 20 * row, 8, 108 + 20 * row, 40), 1, f"C{row}", style)
    visualizer.draw_circle((20, 62), "tab:red", 10)
    visualizer.draw_polygon(np.array([[40, 52], [70, 55], [60, 80], [38, 70]]), "orange")
    visualizer.draw_binary_mask(disc(100, 65, 20, 15), "teal", text="mask")
    visualizer.draw_text("left", (4, 90), horizontal_alignment="left", color="r")
    visualizer.draw_text("turned", (150, 56), rotation=30, color="w")
    return visualizer.draw_text("at the edge", (175, 119), color="cyan")


def draw_second_video_frame():
    video = VideoVisualizer(METADATA)
    video.draw_instance_predictions(background(), predictions())
    return video.draw_instance_predictions(background(), predictions()[[2, 1, 0]])


SCENES = {
    name.removeprefix("draw_"): scene
    for name, scene in list(globals().items())
    if name.startswith("draw_")
}


def coarse(picture):
    height, width = (size // 4 * 4 for size in picture.shape[:2])
    blocks = picture[:height, :width].reshape(height // 4, 4, width // 4, 4, 3)
    return blocks.mean(axis=(1, 3))


@pytest.mark.parametrize("name", SCENES)
def test_scene_looks_as_it_did_when_it_was_looked_at(name, tmp_path):
    picture = SCENES[name]()
    written = tmp_path / f"{name}.png"
    picture.save(written)
    golden = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB"))
    assert golden.shape == picture.get_image().shape
    difference = np.abs(coarse(golden) - coarse(picture.get_image()))
    assert difference.mean() < 1.5, f"look at {written}"
    assert np.quantile(difference, 0.995) < 30, f"look at {written}"


def test_the_comparison_notices_a_moved_box():
    pictures = []
    for shift in (0, 4):
        visualizer = Visualizer(background())
        visualizer.draw_box((20 + shift, 30, 120 + shift, 100), 1.0, "red")
        pictures.append(coarse(visualizer.output.get_image()))
    assert np.quantile(np.abs(pictures[0] - pictures[1]), 0.995) > 30
