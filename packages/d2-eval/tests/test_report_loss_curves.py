import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2_eval.report import loss_curves
from d2_eval.report.loss_curves import _draw, _read_curves


@pytest.fixture
def with_matplotlib():
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")


def written(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def line(iteration, **scalars):
    return {"iteration": iteration, "total_loss": 2.0, "lr": 0.01, **scalars}


def figure_of(path):
    figure = _draw(_read_curves(path))
    figure.canvas.draw()
    return figure


def legend_texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_plot_is_written_where_asked(tmp_path, with_matplotlib):
    source = written(tmp_path / "metrics.json", line(19), line(39, total_loss=1.0))
    path = tmp_path / "new" / "losses.png"
    assert loss_curves(source, path) == path
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).min() < 80


def test_losses_metrics_and_learning_rate_have_panels(tmp_path, with_matplotlib):
    source = written(
        tmp_path / "metrics.json",
        line(0, loss_cls=1.5, loss_mask=0.5, time=0.1, **{"roi_head/num_fg_samples": 9.0}),
        line(1, loss_cls=1.25, loss_mask=0.25, **{"roi_head/num_fg_samples": 9.0}),
        {
            "iteration": 2,
            "bbox/AP": 31.25,
            "bbox/AP50": 50.0,
            "bbox/AP-cat": 3.0,
            "night/segm/AP": 7,
        },
    )
    losses, metrics, rate = figure_of(source).axes
    assert legend_texts(losses) == ["total loss  2", "cls  1.25", "mask  0.25"]
    assert legend_texts(metrics) == ["bbox AP  31.2", "night segm AP  7"]
    assert rate.lines[0].get_ydata().tolist() == [0.01, 0.01]


def test_a_task_without_a_main_metric_shows_its_first_ones(tmp_path, with_matplotlib):
    scores = {f"mine/m{number}": 1.0 for number in range(5)}
    source = written(tmp_path / "m.json", line(0), line(1), line(2), {"iteration": 3, **scores})
    _, metrics, _ = figure_of(source).axes
    assert legend_texts(metrics) == ["mine m0  1", "mine m1  1", "mine m2  1"]


def test_what_was_not_recorded_has_no_panel(tmp_path, with_matplotlib):
    source = written(tmp_path / "m.json", {"iteration": 0, "total_loss": 1.0})
    (losses,) = figure_of(source).axes
    assert losses.get_xlim() == (-1, 1)


def test_no_legend_covers_a_curve(tmp_path, with_matplotlib):
    scalars = {f"loss_{'long_name' * 3}{number}": 1.0 for number in range(12)}
    source = written(tmp_path / "m.json", line(0, **scalars), line(9, **{"bbox/AP": 3.0}))
    for axes in figure_of(source).axes[:2]:
        assert not axes.get_legend().get_window_extent().overlaps(axes.get_window_extent())


@pytest.mark.parametrize(("smallest", "scale"), [(0.01, "log"), (0.5, "linear"), (0.0, "linear")])
def test_losses_that_differ_much_stand_on_a_logarithmic_scale(
    tmp_path, with_matplotlib, smallest, scale
):
    source = written(tmp_path / "m.json", line(0, loss_cls=1.0), line(1, loss_cls=smallest))
    assert figure_of(source).axes[0].get_yscale() == scale


def test_broken_lines_and_values_that_are_no_numbers_are_left_out(tmp_path):
    source = tmp_path / "m.json"
    source.write_bytes(
        b'{"iteration": 0, "total_loss": 3.0}\n'
        b"\xff\xfe\n\n[1]\n3\n"
        b'{"total_loss": 9.0}\n'
        b'{"iteration": 1, "total_loss": null, "lr": NaN, "note": "x"}\n'
        b'{"iteration": 2, "total_loss": 1.0}\n'
        b'{"iteration": 3, "total_lo'
    )
    assert _read_curves(source) == {"total_loss": {0: 3.0, 2: 1.0}}


def test_of_an_iteration_that_occurs_twice_the_later_line_counts(tmp_path):
    source = written(tmp_path / "m.json", line(0), line(2, total_loss=9.0), line(2), line(1))
    assert list(_read_curves(source)["total_loss"].items()) == [(0, 2.0), (1, 2.0), (2, 2.0)]


@given(st.integers(0, 200))
def test_a_file_may_end_anywhere(tmp_path_factory, length):
    source = tmp_path_factory.mktemp("cut") / "m.json"
    whole = "".join(json.dumps(line(number, loss_cls=1.5)) + "\n" for number in range(3))
    source.write_text(whole[:length])
    complete = whole[: length + 1].count("}\n") if length else 0
    assert len(_read_curves(source).get("total_loss", ())) == complete


def test_a_file_without_losses_is_an_error_that_names_it(tmp_path):
    source = written(tmp_path / "other.json", {"iteration": 0, "lr": 1.0})
    with pytest.raises(ValueError, match=r"other\.json holds no losses"):
        loss_curves(source, tmp_path / "losses.png")
    with pytest.raises(FileNotFoundError, match="missing"):
        loss_curves(tmp_path / "missing.json", tmp_path / "losses.png")


def test_without_matplotlib_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"d2-eval\[plots\]"):
        loss_curves(written(tmp_path / "m.json", line(0)), tmp_path / "losses.png")
