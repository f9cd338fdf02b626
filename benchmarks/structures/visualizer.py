"""Time one picture of 100 masks, boxes and labels on 800×1200 against other drawing tools.

Peers that are not installed are left out.
"""

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace

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


def detectron2_drawer(image: np.ndarray, instances: Instances) -> Callable[[], np.ndarray]:
    from detectron2.structures import Boxes as PeerBoxes
    from detectron2.structures import Instances as PeerInstances
    from detectron2.utils.visualizer import Visualizer as PeerVisualizer

    fields = dict(instances.get_fields(), pred_boxes=PeerBoxes(instances.pred_boxes.tensor))
    predictions = PeerInstances((HEIGHT, WIDTH), **fields)
    metadata = SimpleNamespace(thing_classes=NAMES, get=lambda name, default=None: NAMES)
    return lambda: (
        PeerVisualizer(image, metadata).draw_instance_predictions(predictions).get_image()
    )


PEERS = {"supervision": supervision_drawer, "detectron2": detectron2_drawer}


def main() -> None:
    scene = build_scene()
    ours = d2_drawer(*scene)
    rows = {}
    for name, build in PEERS.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: not compared with it")
        else:
            rows[f"beside {name}"] = measure_pairs(ours, build(*scene), seconds=10)
    report(
        "structures-visualizer",
        rows or {"alone": measure_pairs(ours)},
        "peer",
        work=f"{COUNT} masks, boxes and labels on {HEIGHT}x{WIDTH}",
    )


if __name__ == "__main__":
    main()
