"""Files made of models give what the models give, for any size and number of images."""

import contextlib
import json
import logging
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from d2_config import get_cfg
from d2_modeling.export import (
    Caffe2Tracer,
    ExportableModel,
    Preprocessing,
    export,
    load_exported,
    scripting_with_instances,
)
from d2_modeling.export.exporting import _move_all
from d2_modeling.export.graph import OUTPUT_NAMES
from d2_modeling.export.runtimes import _explained
from d2_modeling.export.verification import check_artefact
from d2_modeling.layers.reduced_precision import reduce_precision
from d2_modeling.postprocessing import sem_seg_postprocess
from d2_structures import Boxes

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from tiny_models import MODELS, OfOneSize, TwoLevels, build, images  # of this folder

SIZES = [(64, 80), (50, 72)]
CASES = {
    "the example",
    "higher images",
    "wider images",
    "no detection",
    "one image",
    "more images",
}


def as_graph_inputs(sizes: list[tuple[int, int]]) -> tuple[list[dict[str, Any]], Tensor, Tensor]:
    inputs = images(sizes)
    height, width = (max(side) for side in zip(*sizes, strict=True))
    batch = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    for row, entry in zip(batch, inputs, strict=True):
        row[:, : entry["image"].shape[1], : entry["image"].shape[2]] = entry["image"]
    return inputs, batch, torch.tensor(sizes)


@contextlib.contextmanager
def unheard(name: str) -> Iterator[None]:
    """Fails where a logger says something."""
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]  # the whole handler
    log = logging.getLogger(name)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    assert heard == []


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sizes", [SIZES, [(33, 47)], [(16, 90), (64, 20), (70, 70)]])
def test_the_graph_gives_what_the_model_gives(name: str, sizes: list[tuple[int, int]]) -> None:
    model = build(name)
    graph = ExportableModel(model)
    inputs, batch, image_sizes = as_graph_inputs(sizes)
    with torch.no_grad():
        wanted = model(inputs)
        found = dict(zip(graph.output_names, graph(batch, image_sizes), strict=True))
    assert list(found) == list(OUTPUT_NAMES[graph.kind])
    for index, result in enumerate(wanted):
        if "sem_seg" in found:
            logits = sem_seg_postprocess(found["sem_seg"][index], sizes[index], *sizes[index])
            torch.testing.assert_close(logits, result["sem_seg"])
        if "boxes" not in found:
            continue
        instances = result["instances"]
        rows = found["batch_index"] == index
        boxes = found["boxes"][rows]
        kind = type(instances.pred_boxes)
        rows = rows.nonzero()[:, 0][kind(boxes).nonempty()]
        torch.testing.assert_close(found["boxes"][rows], instances.pred_boxes.tensor)
        torch.testing.assert_close(found["scores"][rows], instances.scores)
        assert torch.equal(found["classes"][rows], instances.pred_classes)
        if instances.has("pred_keypoints"):
            torch.testing.assert_close(found["keypoints"][rows], instances.pred_keypoints)


@pytest.mark.parametrize("name", ["FCOS", "Mask R-CNN"])
def test_a_trace_holds_for_other_sizes_and_numbers_of_images(
    name: str, tmp_path: pathlib.Path
) -> None:
    said: list[str] = []
    made = export(
        build(name), "torchscript-trace", tmp_path / "model.ts", images(SIZES), report=said.append
    )
    assert set(made.differences) == CASES
    assert max(max(found.values()) for found in made.differences.values()) < 1e-3
    assert "higher images" in said[0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.ts", "model.ts.json"]
    assert json.loads(made.sidecar.read_text())["format"] == "torchscript-trace"


@pytest.mark.parametrize("name", [name for name in MODELS if name != "SemanticSegmentor"])
def test_images_of_nothing_give_no_detection(name: str) -> None:
    graph = ExportableModel(build(name))
    with torch.no_grad():
        outputs = graph(torch.zeros(2, 3, 32, 48), torch.zeros(2, 2, dtype=torch.int64))
    found = dict(zip(graph.output_names, outputs, strict=True))
    found.pop("sem_seg", None)
    assert [len(part) for part in found.values()] == [0] * len(found)


def test_a_file_that_finds_something_where_nothing_is_is_refused() -> None:
    class Inventive(torch.nn.Module):
        output_names = ("boxes", "scores", "classes", "batch_index")

        def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
            index = torch.zeros(1, dtype=torch.int64)
            return torch.ones(1, 4), torch.ones(1), index, index

        def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(output[:0] for output in self(*inputs))

    graph: Any = Inventive()
    example = torch.zeros(2, 3, 8, 8), torch.full((2, 2), 8)
    with pytest.raises(ValueError, match="model.ts finds 1 things in images without any"):
        check_artefact(graph, graph, example, what="model.ts")


@pytest.mark.parametrize("name", ["RetinaNet", "Mask R-CNN"])
def test_waits_for_the_host_do_not_grow_with_the_number_of_images(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    waiting = {"nonzero", "_local_scalar_dense", "batched_nms"}

    class Count(TorchDispatchMode):
        waits = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.waits += func.overloadpacket.__name__ in waiting
            return func(*args, **(kwargs or {}))

    graph = ExportableModel(build(name))
    plain, waits = Tensor.tolist, []

    def tolist(tensor: Tensor) -> Any:
        count.waits += 1
        return plain(tensor)

    monkeypatch.setattr(Tensor, "tolist", tolist)
    for sizes in ([(64, 80)], [(64, 80), (50, 72), (64, 64), (30, 80)]):
        _, batch, image_sizes = as_graph_inputs(sizes)
        with torch.no_grad(), Count() as count:
            graph(batch, image_sizes)
        waits.append(count.waits)
    assert waits[0] == waits[1] == {"RetinaNet": 2, "Mask R-CNN": 3}[name]


@pytest.mark.parametrize("channels", [3, 1])
def test_a_model_is_left_in_the_mode_that_it_was_in(channels: int, tmp_path: pathlib.Path) -> None:
    model = build("FCOS").train()
    model.backbone.eval()
    before = [part.training for part in model.modules()]
    example = [{"image": torch.zeros(channels, 32, 48)}]
    with contextlib.nullcontext() if channels == 3 else pytest.raises(ValueError):
        export(model, "torchscript-trace", tmp_path / "model.ts", example, report=None)
    assert [part.training for part in model.modules()] == before


def test_autocast_around_an_export_changes_nothing(tmp_path: pathlib.Path) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        export(build("FCOS"), "torchscript-trace", tmp_path / "m.ts", images(SIZES), report=None)
    outputs = json.loads((tmp_path / "m.ts.json").read_text())["outputs"]
    assert [each["dtype"] for each in outputs] == ["float32", "float32", "int64", "int64"]


def test_a_model_with_a_compiled_backbone_is_exported_and_stays_compiled(
    tmp_path: pathlib.Path,
) -> None:
    model = build("FCOS")
    model.backbone.compile(backend="eager")
    compiled = model.backbone._compiled_call_impl
    export(model, "torchscript-trace", tmp_path / "model.ts", images(SIZES), report=None)
    assert model.backbone._compiled_call_impl is compiled is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_of_another_type_is_refused_by_its_first_weight(
    dtype: torch.dtype, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=rf"^backbone.fine.weight is of {dtype}.*model.float\(\)"):
        export(build("FCOS").to(dtype), "onnx", tmp_path / "model.onnx", images(SIZES))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_computes_in_fewer_bits_is_refused(tmp_path: pathlib.Path) -> None:
    model = build("FCOS")
    reduce_precision(model, torch.bfloat16)
    with pytest.raises(
        ValueError, match=r"^backbone \(TwoLevels\) computes in fewer bits.*float32"
    ):
        export(model, "torch-export", tmp_path / "model.pt2", images(SIZES))


@pytest.mark.parametrize("names", ["cat", None, ["cat", 3], {0: "cat"}])
def test_names_of_classes_that_are_none_are_refused_at_once(
    names: Any, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(TypeError, match="class_names wants .*names, got"):
        export(
            *(build("FCOS"), "torchscript-trace", tmp_path / "model.ts", images(SIZES)),
            class_names=names,
        )
    assert list(tmp_path.iterdir()) == []


def test_examples_may_come_one_by_one_and_one_dict_is_none(tmp_path: pathlib.Path) -> None:
    model, path = build("FCOS"), tmp_path / "model.ts"
    for inside in (True, False):
        given: dict[str, Any] = {"include_preprocessing": inside, "report": None}
        given["preprocessing"] = Preprocessing(min_size=64, max_size=96)
        assert export(model, "torchscript-trace", path, iter(images(SIZES)), **given).path == path
        for wrong in (images(SIZES)[0], images(SIZES)[0]["image"]):
            with pytest.raises(ValueError, match="input 0 wants a dict with an image, got"):
                export(model, "torchscript-trace", path, wrong, **given)


def test_an_example_that_an_export_would_take_for_constant_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(ValueError, match="^images of 1 x 40 pixels are no example"):
        export(build("FCOS"), "torch-export", tmp_path / "model.pt2", images([(1, 40)]))


def test_an_image_that_is_too_small_for_a_graph_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model"
    with warnings.catch_warnings(), unheard("torch.export"):
        warnings.simplefilter("error")
        export(build("FCOS"), "torch-export", path, images(SIZES), report=None)
        loaded = load_exported(path, allow_unsafe=True)
    with pytest.raises(ValueError, match=r"^model takes no images of 9 x 60 pixels.*or export"):
        loaded(images([(9, 60)]))
    assert len(loaded(images([(17, 60)]))) == 1


@pytest.mark.parametrize(
    ("told", "is_of_sizes"),
    [
        (RuntimeError("Expected Ne(((s14 + 15)//16), 1) to be True but received 9"), True),
        (AssertionError("Guard failed: images.size()[2] >= 17"), True),
        (RuntimeError("Expected all tensors to be on the same device"), False),
    ],
)
def test_only_what_is_said_of_sizes_is_told_as_such(told: Exception, is_of_sizes: bool) -> None:
    with (
        pytest.raises(ValueError if is_of_sizes else RuntimeError) as found,
        _explained(pathlib.Path("model.pt2"), torch.zeros(1, 3, 9, 60)),
    ):
        raise told
    assert ("model.pt2 takes no images of 9 x 60" in str(found.value)) == is_of_sizes


def test_an_unknown_format_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="unknown format 'caffe2'"):
        export(build("FCOS"), "caffe2", tmp_path / "model", images(SIZES))


def test_a_place_where_no_file_can_be_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    model = build("FCOS")
    with pytest.raises(FileNotFoundError, match="there is no folder .*elsewhere, where model.pt2"):
        export(model, "torch-export", tmp_path / "elsewhere" / "model.pt2", images(SIZES))
    with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
        export(model, "torch-export", tmp_path, images(SIZES))
    with pytest.raises(ValueError, match=r"^model\.json is the name of a sidecar"):
        export(model, "onnx", tmp_path / "model.json", images(SIZES))
    (tmp_path / "model.pt2.json").mkdir()
    with pytest.raises(IsADirectoryError, match=r"model\.pt2\.json is a folder, not a file"):
        export(model, "torch-export", tmp_path / "model.pt2", images(SIZES))


def test_nothing_is_moved_where_a_part_would_be_a_folder(tmp_path: pathlib.Path) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    for folder in (made, target, target / "model.bin"):
        folder.mkdir()
    for name in ("model.xml", "model.bin", "model.xml.json"):
        (made / name).write_text("")
    with pytest.raises(IsADirectoryError, match=r"model\.bin is a folder, where a file has to be"):
        _move_all(made, target)
    assert [each.name for each in target.iterdir()] == ["model.bin"]


def test_a_file_name_that_openvino_cannot_read_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"end in \.xml, got 'model\.onnx'"):
        export(build("FCOS"), "openvino", tmp_path / "model.onnx", images(SIZES))


def test_a_part_of_another_behaviour_is_named_before_anything_is_written(
    tmp_path: pathlib.Path,
) -> None:
    model = build("Mask R-CNN")

    class Halved(type(model.roi_heads)):  # type: ignore[misc]  # a class found at run time
        def _forward_box(self, features: Any, proposals: Any) -> Any:
            return [found[::2] for found in super()._forward_box(features, proposals)]

    model.roi_heads.__class__ = Halved
    with pytest.raises(ValueError, match=r"roi_heads \(Halved\).*_forward_box"):
        export(model, "torchscript-trace", tmp_path / "model.ts", images(SIZES))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"roi_heads \(Halved\).*_forward_box"):
        Caffe2Tracer(get_cfg(), model, images(SIZES))
    fields = {"pred_boxes": Boxes, "scores": Tensor, "pred_classes": Tensor, "pred_masks": Tensor}
    with pytest.raises(ValueError, match=r"roi_heads \(Halved\).*_forward_box"):
        scripting_with_instances(model, fields)


@pytest.mark.parametrize("name", ["", "roi_heads", "roi_heads.mask_head", "proposal_generator"])
def test_hooks_that_a_graph_would_pass_over_are_refused(name: str, tmp_path: pathlib.Path) -> None:
    model = build("Mask R-CNN")
    part = model.get_submodule(name)
    hook = part.register_forward_hook(lambda part, inputs, outputs: outputs)
    path = tmp_path / "model.ts"
    with pytest.raises(ValueError, match=f"^{name or 'the model itself'} .* has hooks, which its"):
        export(model, "torchscript-trace", path, images(SIZES))
    hook.remove()
    part.forward = part.forward
    with pytest.raises(ValueError, match="forward was set from outside"):
        export(model, "torchscript-trace", path, images(SIZES))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "reason"),
    [
        ("torchscript-trace", r"fails on higher images: RuntimeError: shape '\[2, 3, 64, 80\]' is"),
        ("torch-export", r"cannot be exported by torch.export: .* inferred a static shape of 2"),
    ],
)
def test_a_part_of_one_size_is_refused_with_the_reason(
    format: str, reason: str, tmp_path: pathlib.Path
) -> None:
    model = build("FCOS")
    model.backbone = OfOneSize()
    with pytest.raises(ValueError, match=reason) as told:
        export(model, format, tmp_path / "model", images(SIZES))
    assert "\n" not in str(told.value)


def test_preprocessing_that_is_said_to_be_inside_has_to_be_asked_for(
    tmp_path: pathlib.Path,
) -> None:
    told = Preprocessing(inside=True)
    with pytest.raises(ValueError, match="needs export.*include_preprocessing=True"):
        export(
            *(build("FCOS"), "torchscript-trace", tmp_path / "model.ts", images(SIZES)),
            preprocessing=told,
        )
    assert list(tmp_path.iterdir()) == []


def test_what_openvino_has_no_operators_for_is_named_before_anything_is_written(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "model.xml"
    with pytest.raises(ValueError, match=r"proposal_generator \(RRPN\).*rotated boxes"):
        export(build("Rotated Faster R-CNN"), "openvino", path, images(SIZES))
    assert list(tmp_path.iterdir()) == []


class Doubting(TwoLevels):
    """Its code does something else where the image is dark."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return super().forward(2 * x if x.mean() > 0 else x)


class Foreign(TwoLevels):
    """It calls an operator that only PyTorch has, and only here."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return super().forward(torch.ops.d2_tests.doubled(x))


def test_a_part_whose_code_asks_for_values_is_named_and_nothing_is_printed(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = build("FCOS")
    model.backbone = Doubting()
    with pytest.raises(ValueError, match=r"^backbone \(Doubting\) cannot .* asks for values") as e:
        export(model, "torch-export", tmp_path / "model.pt2", images(SIZES))
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_onnx_has_no_operator_for_is_named(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("onnxscript", reason="ONNX files are made by onnxscript")
    with torch.library._scoped_library("d2_tests", "FRAGMENT") as library:
        library.define("doubled(Tensor x) -> Tensor")
        library.impl("doubled", lambda x: 2 * x, "CompositeExplicitAutograd")
        model = build("SemanticSegmentor")
        model.backbone = Foreign()
        with pytest.raises(ValueError, match=r"^backbone \(Foreign\) calls d2_tests.doubled"):
            export(model, "onnx", tmp_path / "model.onnx", images(SIZES))
    assert list(tmp_path.iterdir()) == []


def test_a_head_without_tensors_is_named(tmp_path: pathlib.Path) -> None:
    model = build("Mask R-CNN")
    model.roi_heads.mask_head = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"roi_heads.mask_head \(Identity\)"):
        export(model, "onnx", tmp_path / "model.onnx", images(SIZES))
    assert list(tmp_path.iterdir()) == []


def test_an_example_of_other_channels_gets_the_message_of_the_model(tmp_path: pathlib.Path) -> None:
    wrong = [{"image": torch.zeros(1, 8, 8)}]
    with pytest.raises(ValueError, match=r"input 0 wants a tensor image of shape \(3, H, W\)"):
        export(build("FCOS"), "torchscript-trace", tmp_path / "model.ts", wrong)


def test_what_the_exporter_tells_of_its_own_parts_is_not_heard(tmp_path: pathlib.Path) -> None:
    """Without torchvision it warns of each operator of it that it will not know."""
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="ONNX is an extra")
    with unheard("torch.onnx"):
        export(build("SemanticSegmentor"), "onnx", tmp_path / "model.onnx", images(SIZES))
