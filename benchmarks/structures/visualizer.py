"""Time one picture of 100 masks, boxes and labels on 800×1200 against other drawing tools.

Peers that are not installed are left out.
"""

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from _paired import measure_pairs, report

from d2_structures import Boxes, Instances
from d2_structures.visualizer import Visualizer

HEIGHT, WIDTH, COUNT = 800, 1200, 100
NAMES = [f"class {index}" for index in range(80)]


def build_scene() -> tuple[np.ndarray, Instances]:
    """A noise image and ellipses of 40 to 220 pixels with their boxes."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    masks, boxes = np.zeros((COUNT, HEIGHT, WIDTH), bool), np.zeros((COUNT, 4))
    for mask, box in zip(masks, boxes, strict=True):
        cx, cy = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
        rx, ry = rng.integers(20, 110, 2)
        mask[:] = ((xs - cx) / rx) ** 2 + ((ys - cy) / ry) ** 2 < 1
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    instances = Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.from_numpy(boxes).float()),
        pred_classes=torch.from_numpy(rng.integers(0, 80, COUNT)),
        scores=torch.from_numpy(rng.random(COUNT)),
        pred_masks=torch.from_numpy(masks),
    )
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), instances


def d2_drawer(image: np.ndarray, instances: Instances) -> Callable[[], np.ndarray]:
    metadata = SimpleNamespace(thing_classes=NAMES)
    return lambda: Visualizer(image, metadata).draw_instance_predictions(instances).get_image()


def supervision_drawer(image: np.ndarray, instances: Instances) -> Callable[[], np.ndarray]:
    import supervision

    detections = supervision.Detections(
        xyxy=instances.pred_boxes.tensor.numpy(),
        mask=instances.pred_masks.numpy(),
        class_id=instances.pred_classes.numpy(),
        confidence=instances.scores.numpy(),
    )
    labels = [
        f"{NAMES[c]} {s * 100:.0f}%"
        for c, s in zip(detections.class_id, detections.confidence, strict=True)
    ]
    tools = [supervision.MaskAnnotator(), supervision.BoxAnnotator()]
    label_tool = supervision.LabelAnnotator()

    def draw() -> np.ndarray:
        picture = image.copy()
        for tool in tools:
            picture = tool.annotate(picture, detections)
        return label_tool.annotate(picture, detections, labels=labels)

    return draw


def matplotlib_drawer(image: np.ndarray, instances: Instances) -> Callable[[], np.ndarray]:
    """The usual way of detection libraries: a figure of the image's size, an artist per thing.

    Masks become patches around their contours, which OpenCV finds.
    """
    import cv2
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Polygon, Rectangle

    masks = instances.pred_masks.numpy()
    boxes = instances.pred_boxes.tensor.numpy()
    colors = np.random.default_rng(0).random((COUNT, 3))
    labels = [
        f"{NAMES[c]} {s * 100:.0f}%"
        for c, s in zip(instances.pred_classes.tolist(), instances.scores.tolist(), strict=True)
    ]
    font_size = max(np.sqrt(HEIGHT * WIDTH) / 90, 10)
    plate = {"facecolor": "black", "alpha": 0.8, "pad": 0.7, "edgecolor": "none"}

    def draw() -> np.ndarray:
        figure = Figure((WIDTH / 100, HEIGHT / 100), dpi=100, frameon=False)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.imshow(image, extent=(0, WIDTH, HEIGHT, 0), interpolation="nearest")
        for index in np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)):
            x0, y0, x1, y1 = boxes[index]
            color = colors[index]
            axes.add_patch(
                Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, alpha=0.5)
            )
            bitmap = np.ascontiguousarray(masks[index]).astype(np.uint8)
            contours, _ = cv2.findContours(bitmap, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            for contour in contours:
                points = contour.reshape(-1, 2) + 0.5
                axes.add_patch(Polygon(points, facecolor=(*color, 0.5), edgecolor=color * 0.7))
            axes.text(x0, y0, labels[index], size=font_size, bbox=plate, color=color, va="top")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    return draw


class Peer(NamedTuple):
    needs: tuple[str, ...]
    build: Callable[[np.ndarray, Instances], Callable[[], np.ndarray]]


PEERS = {
    "supervision": Peer(("supervision",), supervision_drawer),
    "matplotlib artists": Peer(("matplotlib", "cv2"), matplotlib_drawer),
}


def main() -> None:
    scene = build_scene()
    ours = d2_drawer(*scene)
    rows = {}
    for name, peer in PEERS.items():
        absent = [module for module in peer.needs if importlib.util.find_spec(module) is None]
        if absent:
            print(f"{', '.join(absent)} not installed: not compared with {name}")
        else:
            rows[f"beside {name}"] = measure_pairs(ours, peer.build(*scene), seconds=10)
    report(
        "structures-visualizer",
        rows or {"alone": measure_pairs(ours)},
        "peer",
        work=f"{COUNT} masks, boxes and labels on {HEIGHT}x{WIDTH}",
    )


if __name__ == "__main__":
    main()
