"""Graphs that resize pictures themselves give what the model gives for resized pictures."""

import os
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from d2_modeling.export import Preprocessing, export, load_exported
from d2_modeling.export.formats import FORMATS
from d2_modeling.export.picture_input import PictureModel, resized, resized_size
from d2_modeling.export.verification import NEAR
from d2_ops.host import resize_picture

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from tiny_models import build, images  # of this folder

SIDES = st.integers(1, 3000)


def picture(height: int, width: int) -> torch.Tensor:
    """Gradients and noise, so that there is something to smooth and something to keep."""
    generator = torch.Generator().manual_seed(height * 7919 + width)
    noise = torch.rand(3, height, width, generator=generator) * 120
    slope = torch.linspace(0, 120, width) + torch.linspace(0, 15, height)[:, None]
    return (noise + slope).to(torch.uint8)


@given(SIDES, SIDES, st.integers(1, 1500), st.integers(0, 1000))
@example(480, 640, 800, 533)
@example(1, 3000, 100, 0)
def test_the_shorter_side_gets_its_size_unless_the_longer_one_would_exceed_its(
    height: int, width: int, min_size: int, more: int
) -> None:
    max_size = min_size + more
    new = resized_size(height, width, min_size, max_size)
    longer, shorter = max(height, width), min(height, width)
    assert min(new) == min_size or max(new) == max_size
    assert min(new) <= min_size
    assert max(new) <= max_size
    if longer * min_size <= max_size * shorter:
        assert min(new) == min_size
    scale = min(min_size / shorter, max_size / longer)
    for got, side in zip(new, (height, width), strict=True):
        assert got == 1 or abs(got - side * scale) <= 0.5 + 1e-6


def test_size_0_leaves_pictures_as_they_are() -> None:
    assert resized_size(37, 41, 0, 0) == (37, 41)


@pytest.mark.parametrize(
    ("before", "after"),
    [((60, 90), (30, 45)), ((33, 47), (80, 114)), ((301, 200), (60, 40)), ((50, 50), (50, 50))],
)
def test_pixels_are_those_of_the_datasets_resizing(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    image = picture(*before)
    wanted = resize_picture(np.ascontiguousarray(image.permute(1, 2, 0)), *after)
    got = resized(image[None].float(), *after)[0].permute(1, 2, 0)
    difference = (got - torch.from_numpy(wanted)).abs()
    assert difference.max() <= 2
    assert (difference > 0).float().mean() < 0.01


_PACKAGES = {"onnx": ("onnxscript", "onnxruntime"), "openvino": ("onnxscript", "openvino")}


def _skip_where_compiling(format: str) -> None:
    if format == "aotinductor" and os.environ.get("D2_EXPORT_ALL") != "1":
        pytest.skip("compiling takes a minute; nox -s export does it")


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_takes_pictures(format: str, detector: Any, tmp_path: pathlib.Path) -> None:
    _skip_where_compiling(format)
    for package in _PACKAGES.get(format, ()):
        pytest.importorskip(package, reason=f"{format} needs {package}")
    path = tmp_path / ("model.xml" if format == "openvino" else "model")
    export(
        *(detector, format, path, [{"image": picture(60, 80)}]),
        include_preprocessing=True,
        preprocessing=Preprocessing(min_size=24, max_size=40),
        report=None,
    )
    (result,) = load_exported(path, allow_unsafe=True)([{"image": picture(45, 90)}])
    assert result["instances"].image_size == (45, 90)
    assert len(result["instances"]) > 0
    widths = (
        result["instances"].pred_boxes.tensor[:, 2] - result["instances"].pred_boxes.tensor[:, 0]
    )
    assert torch.allclose(widths, torch.full_like(widths, 90 / 40), atol=1e-3)


@pytest.mark.parametrize("format", ["torchscript-trace", "torchscript-script", "aotinductor"])
def test_a_file_takes_pictures_and_gives_boxes_in_their_pixels(
    format: str, tmp_path: pathlib.Path
) -> None:
    _skip_where_compiling(format)
    model = build("Mask R-CNN")
    made = export(
        *(model, format, tmp_path / "model", [{"image": picture(90, 70)}]),
        include_preprocessing=True,
        preprocessing=Preprocessing(min_size=64, max_size=120),
        report=None,
    )
    loaded = load_exported(made.path, allow_unsafe=True)
    assert loaded.sidecar.preprocessing.inside
    assert [(one.name, one.dtype) for one in loaded.sidecar.inputs] == [("images", "uint8")]
    batch = [{"image": picture(100, 150)}, {"image": picture(40, 33), "height": 80, "width": 66}]
    for entry, got in zip(batch, loaded(batch), strict=True):
        _, height, width = entry["image"].shape
        seen = resize_picture(
            np.ascontiguousarray(entry["image"].permute(1, 2, 0)),
            *resized_size(height, width, 64, 120),
        )
        size = {"height": entry.get("height", height), "width": entry.get("width", width)}
        with torch.no_grad():
            (wanted,) = model([{"image": torch.from_numpy(seen).permute(2, 0, 1), **size}])
        assert_near(got["instances"], wanted["instances"])


def assert_near(got: Any, wanted: Any) -> None:
    assert got.image_size == wanted.image_size
    assert len(wanted) > 0
    assert abs(len(got) - len(wanted)) <= 1
    distance = torch.cdist(wanted.pred_boxes.tensor, got.pred_boxes.tensor, p=torch.inf)
    assert (distance.amin(dim=1) > NEAR.outputs["boxes"]).sum() <= 1
    if wanted.has("pred_masks"):
        assert got.pred_masks.shape[1:] == wanted.pred_masks.shape[1:]


def test_semantic_logits_and_panoptic_results_have_the_size_of_the_picture() -> None:
    pictures = picture(50, 90)[None]
    for name in ("SemanticSegmentor", "PanopticFPN"):
        graph = PictureModel(build(name), 32, 80)
        with torch.no_grad():
            found = dict(zip(graph.output_names, graph(pictures), strict=True))
        assert found["sem_seg"].shape[-2:] == (50, 90)


def test_a_loaded_file_refuses_pictures_that_are_not_of_bytes(tmp_path: pathlib.Path) -> None:
    made = export(
        *(build("FCOS"), "torchscript-trace", tmp_path / "model.ts", images([(64, 80)])),
        include_preprocessing=True,
        preprocessing=Preprocessing(min_size=48, max_size=90),
        report=None,
    )
    loaded = load_exported(made.path, allow_unsafe=True)
    with pytest.raises(ValueError, match="input 0 wants an image of uint8, as it was read"):
        loaded([{"image": torch.zeros(3, 20, 20)}])


def test_an_example_that_is_no_picture_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="wants an image of uint8"):
        export(
            *(build("FCOS"), "onnx", tmp_path / "model.onnx", [{"image": torch.zeros(3, 9, 9)}]),
            include_preprocessing=True,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sizes", [(-1, 10), (20, 10)])
def test_sizes_that_no_picture_can_have_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="min_size of at least 0 and at most max_size"):
        PictureModel(build("FCOS"), *sizes)
