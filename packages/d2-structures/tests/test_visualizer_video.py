from types import SimpleNamespace

import numpy as np
import torch

from d2_structures import Boxes, Instances
from d2_structures.visualizer import ColorMode, VideoVisualizer
from d2_structures.visualizer.palette import palette_color

HEIGHT, WIDTH = 80, 160


def frame_of(*boxes, classes=None, **fields):
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        pred_classes=torch.tensor(classes or [0] * len(boxes)),
        **fields,
    )


def colors_of(video, instances):
    """Colour numbers found at the middle of each box's left side."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture = video.draw_instance_predictions(image, instances).get_image()
    found = []
    for x0, y0, _, y1 in instances.pred_boxes.tensor.round().int().tolist():
        pixel = picture[(y0 + y1) // 2, x0] / 0.8
        palette = np.array([palette_color(i).to_bytes() for i in range(20)], float)
        found.append(int(np.abs(palette - pixel).sum(axis=1).argmin()))
    return found


LEFT, RIGHT = (10.0, 20, 50, 60), (90.0, 20, 130, 60)


def shifted(box, dx):
    return (box[0] + dx, box[1], box[2] + dx, box[3])


def test_moving_instances_keep_their_colours_in_any_order():
    video = VideoVisualizer(None)
    first = colors_of(video, frame_of(LEFT, RIGHT))
    second = colors_of(video, frame_of(shifted(RIGHT, 5), shifted(LEFT, 5)))
    third = colors_of(video, frame_of(shifted(LEFT, 10), shifted(RIGHT, 10)))
    assert first == third
    assert second == first[::-1]


def test_a_new_instance_gets_a_new_colour():
    video = VideoVisualizer(None)
    first = colors_of(video, frame_of(LEFT))
    assert colors_of(video, frame_of(RIGHT, LEFT)) == [1, *first]


def test_an_instance_of_another_class_is_another_instance():
    video = VideoVisualizer(None)
    assert colors_of(video, frame_of(LEFT, classes=[0])) == [0]
    assert colors_of(video, frame_of(LEFT, classes=[1])) == [1]


def test_an_instance_missed_for_a_few_frames_is_recognised():
    video = VideoVisualizer(None)
    assert colors_of(video, frame_of(LEFT, RIGHT)) == [0, 1]
    for _ in range(5):
        colors_of(video, frame_of(RIGHT))
    assert colors_of(video, frame_of(RIGHT, LEFT)) == [1, 0]


def test_an_instance_missed_for_long_is_forgotten():
    video = VideoVisualizer(None)
    colors_of(video, frame_of(LEFT))
    for _ in range(10):
        colors_of(video, frame_of(RIGHT))
    assert colors_of(video, frame_of(LEFT)) == [2]


def test_ids_of_a_tracker_decide():
    video = VideoVisualizer(None)
    assert colors_of(video, frame_of(LEFT, RIGHT, ID=[4, 2])) == [4, 2]
    assert colors_of(video, frame_of(LEFT, RIGHT, ID=[2, 4])) == [2, 4]


def test_segmentation_mode_gives_a_class_one_colour():
    metadata = SimpleNamespace(thing_colors=[palette_color(5).to_bytes()])
    video = VideoVisualizer(metadata, ColorMode.SEGMENTATION)
    assert colors_of(video, frame_of(LEFT, RIGHT)) == [5, 5]


def test_masks_alone_are_followed_by_their_rectangles():
    video = VideoVisualizer(None)
    mask = np.zeros((2, HEIGHT, WIDTH), bool)
    mask[0, 20:60, 10:50] = True
    mask[1, 20:60, 90:130] = True
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    first = video.draw_instance_predictions(
        image, Instances((HEIGHT, WIDTH), pred_masks=torch.from_numpy(mask))
    )
    again = video.draw_instance_predictions(
        image, Instances((HEIGHT, WIDTH), pred_masks=torch.from_numpy(mask[::-1].copy()))
    )
    assert np.array_equal(first.get_image(), again.get_image())


def test_frames_without_instances_are_returned_as_they_are():
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    video = VideoVisualizer(None)
    assert np.array_equal(video.draw_instance_predictions(image, frame_of()).get_image(), image)
    empty = Instances((HEIGHT, WIDTH))
    assert np.array_equal(video.draw_instance_predictions(image, empty).get_image(), image)


def test_semantic_frames_keep_the_colours_of_classes():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    seg = np.zeros((HEIGHT, WIDTH), int)
    video = VideoVisualizer(SimpleNamespace(stuff_classes=["sky"], stuff_colors=[(0, 100, 200)]))
    picture = video.draw_sem_seg(image, seg).get_image()
    assert (np.abs(picture[0, 0] - np.array([0, 80, 160])) <= 1).all()
