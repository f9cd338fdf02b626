import json
import sys

import numpy as np
import pytest
from PIL import Image

from d2_eval import evaluate_coco_results
from d2_eval.report import precision_recall_plot
from d2_eval.report.precision_recall import _draw


@pytest.fixture
def curves(tmp_path, coco_content):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_content))
    results = [
        {"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "score": 0.9},
        {"image_id": 2, "category_id": 3, "bbox": [0, 0, 20, 20], "score": 0.8},
        {"image_id": 1, "category_id": 7, "bbox": [50, 20, 40, 40], "score": 0.7},
    ]
    return evaluate_coco_results(path, results, "bbox")


def picture(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_a_plot_is_written_where_asked(curves, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    path = tmp_path / "new" / "plot.png"
    assert precision_recall_plot(curves, path) == path
    pixels = picture(path)
    assert pixels.min() < 50
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_each_task_gets_a_panel(curves, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    precision_recall_plot(curves, tmp_path / "one.png")
    precision_recall_plot({"bbox": curves, "again": curves}, tmp_path / "two.png")
    one, two = picture(tmp_path / "one.png"), picture(tmp_path / "two.png")
    assert two.shape[1] == pytest.approx(2 * one.shape[1], abs=2)


def test_the_legend_covers_no_curve(curves):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    figure = _draw([curves, curves], (0.5, 0.75, 0.9))
    figure.canvas.draw()
    for axes in figure.axes:
        legend = axes.get_legend()
        assert len(legend.get_texts()) == 3 + len(curves.class_names)
        assert not legend.get_window_extent().overlaps(axes.get_window_extent())
        assert figure.bbox.containsx(legend.get_window_extent().x1)


def test_a_threshold_that_was_not_evaluated_is_an_error(curves, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    with pytest.raises(ValueError, match=r"IoU 0\.3"):
        precision_recall_plot(curves, tmp_path / "plot.png", iou_thresholds=[0.3])
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize("arguments", [{"curves": {}}, {"iou_thresholds": ()}])
def test_nothing_to_draw_is_an_error(curves, tmp_path, arguments):
    with pytest.raises(ValueError, match=r"no curves|empty"):
        precision_recall_plot(**{"curves": curves, "path": tmp_path / "p.png", **arguments})


def test_without_matplotlib_the_error_names_the_extra(curves, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError, match=r"d2-eval\[plots\]"):
        precision_recall_plot(curves, tmp_path / "plot.png")
