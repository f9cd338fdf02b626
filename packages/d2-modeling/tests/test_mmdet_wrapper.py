"""Models of mmdetection under our interfaces, with small modules of the same protocol."""

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2_modeling import MMDetBackbone, MMDetDetector, ShapeSpec
from d2_modeling.events import EventStorage
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

SHAPES = [ShapeSpec(channels=2, stride=2), ShapeSpec(channels=2, stride=4)]


class Maps(nn.Module):
    """Gives two feature maps, and remembers how it was initialised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 2, stride=2)
        self.pretrained: object = "not initialised"

    def init_weights(self, pretrained: str | None = None) -> None:
        self.pretrained = pretrained

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        fine = self.conv(x) if isinstance(x, Tensor) else x[0] * 2
        return fine, nn.functional.avg_pool2d(fine, 2)


class Detector(nn.Module):
    """Remembers what it was asked, and answers in mmdetection's format."""

    def __init__(self, with_masks: bool) -> None:
        super().__init__()
        self.with_masks = with_masks
        self.weight = nn.Parameter(torch.ones(1))
        self.asked: dict[str, Any] = {}

    def forward_train(self, images: Tensor, metas: Any, boxes: Any, labels: Any) -> dict[str, Any]:
        self.asked = {"images": images, "metas": metas, "boxes": boxes, "labels": labels}
        return {
            "loss_bbox": [self.weight * torch.ones(2), self.weight * 3],
            "loss_cls": self.weight.mean(),
            "acc": torch.tensor([80.0]),
        }

    def simple_test(self, images: Tensor, metas: Any, rescale: bool) -> list[Any]:
        self.asked = {"images": images, "metas": metas, "rescale": rescale}
        boxes = [
            np.array([[0, 1, 2, 3, 0.9]], np.float32),
            np.zeros((0, 5), np.float32),
            np.array([[1, 1, 4, 4, 0.5], [2, 2, 5, 5, 0.25]], np.float32),
        ]
        if not self.with_masks:
            return [boxes for _ in metas]
        mask = np.ones((8, 12), bool)
        return [(boxes, [[mask], [], [mask, ~mask]]) for _ in metas]


def detector(with_masks: bool = False) -> MMDetDetector:
    return MMDetDetector(
        Detector(with_masks), pixel_mean=[1.0, 2, 3], pixel_std=[1.0, 1, 2], size_divisibility=16
    )


def test_a_backbones_outputs_get_names_and_shapes() -> None:
    backbone = MMDetBackbone(Maps(), Maps(), pretrained_backbone="somewhere", output_shapes=SHAPES)
    assert isinstance(backbone.backbone, Maps)
    assert isinstance(backbone.neck, Maps)
    assert (backbone.backbone.pretrained, backbone.neck.pretrained) == ("somewhere", None)
    assert backbone.output_shape() == {"out0": SHAPES[0], "out1": SHAPES[1]}
    outputs = backbone(torch.randn(1, 3, 8, 8))
    assert [x.shape[2] for x in outputs.values()] == [4, 2]
    named = MMDetBackbone(Maps(), output_shapes=SHAPES, output_names=["c1", "c2"])
    assert list(named(torch.randn(1, 3, 8, 8))) == ["c1", "c2"]


def test_names_and_outputs_have_to_be_as_many_as_shapes() -> None:
    with pytest.raises(ValueError, match="1 output_names for 2 output_shapes"):
        MMDetBackbone(Maps(), output_shapes=SHAPES, output_names=["c1"])
    backbone = MMDetBackbone(Maps(), output_shapes=SHAPES[:1])
    with pytest.raises(ValueError, match="1 output_shapes, but gave 2 outputs"):
        backbone(torch.randn(1, 3, 8, 8))


def test_losses_are_summed_and_other_values_reported() -> None:
    model = detector().train()
    gt = Instances(
        (8, 12), gt_boxes=Boxes(torch.tensor([[0.0, 0, 4, 4]])), gt_classes=torch.tensor([2])
    )
    with EventStorage() as storage:
        losses = model([{"image": torch.full((3, 8, 12), 5.0), "instances": gt}])
    assert {name: loss.item() for name, loss in losses.items()} == {"loss_bbox": 4, "loss_cls": 1}
    assert storage.latest()["acc"][0] == 80
    asked = model.detector.asked
    assert asked["images"].shape == (1, 3, 16, 16)
    assert asked["images"][0, :, 0, 0].tolist() == [4, 3, 1]
    assert asked["images"][0, :, 12, 0].tolist() == [0, 0, 0]
    assert asked["boxes"][0].tolist() == [[0, 0, 4, 4]]
    assert asked["labels"][0].tolist() == [2]
    with pytest.raises(ValueError, match="'instances'"):
        model([{"image": torch.zeros(3, 8, 12)}])


@pytest.mark.parametrize("with_masks", [False, True])
def test_results_become_instances_of_the_size_asked_for(with_masks: bool) -> None:
    model = detector(with_masks).eval()
    (output,) = model([{"image": torch.zeros(3, 8, 12), "height": 16, "width": 36}])
    found = output["instances"]
    assert found.image_size == (16, 36)
    assert found.pred_classes.tolist() == [0, 2, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.5, 0.25]))
    assert found.pred_boxes.tensor[1].tolist() == [1, 1, 4, 4]
    assert found.has("pred_masks") == with_masks
    if with_masks:
        assert found.pred_masks.shape == (3, 8, 12)
    (meta,) = model.detector.asked["metas"]
    assert meta["img_shape"] == (8, 12, 3)
    assert meta["ori_shape"] == (16, 36, 3)
    assert meta["pad_shape"] == (16, 16, 3)
    np.testing.assert_allclose(meta["scale_factor"], [1 / 3, 1 / 2, 1 / 3, 1 / 2])
    assert model.detector.asked["rescale"] is True


def test_sizes_are_asked_for_by_all_inputs_or_none() -> None:
    model = detector().eval()
    image = torch.zeros(3, 8, 12)
    model([{"image": image}])
    assert model.detector.asked["rescale"] is False
    with pytest.raises(ValueError, match="height and width"):
        model([{"image": image}, {"image": image, "height": 8, "width": 12}])


def test_a_config_needs_mmdetection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmdet", None)  # cannot be imported
    with pytest.raises(ImportError, match="need mmdet, .* pip install 'mmdet>=3'"):
        MMDetBackbone({"type": "ResNet"}, output_shapes=SHAPES)


class Named(types.SimpleNamespace):
    """Whatever is given by name, as mmengine's structures hold it."""

    def __contains__(self, name: str) -> bool:
        return name in vars(self)


class BitmapMasks:
    """Of mmdetection, which wants masks of the size that it is told."""

    def __init__(self, masks: Any, height: int, width: int) -> None:
        assert masks.shape[1:] == (height, width)
        self.masks = masks


class Polygons:
    """Polygons of mmdetection: for each object a list of arrays."""

    def __init__(self, masks: Any, height: int, width: int) -> None:
        self.masks, self.size = masks, (height, width)


@pytest.fixture
def structures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of mmdetection as holds ground truth and results, of both versions."""
    masks = {"BitmapMasks": BitmapMasks, "PolygonMasks": Polygons}
    contents: dict[str, dict[str, Any]] = {
        "mmdet": {},
        "mmdet.core": masks,
        "mmdet.structures": {"DetDataSample": Named},
        "mmdet.structures.mask": masks,
        "mmengine": {},
        "mmengine.structures": {"InstanceData": Named},
    }
    for name, values in contents.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


class DetectorOf3(nn.Module):
    """Remembers what it was asked, and answers in the format of version 3."""

    def __init__(self, **results: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.results = results
        self.asked: dict[str, Any] = {}

    def loss(self, images: Tensor, samples: Any) -> dict[str, Any]:
        self.asked = {"images": images, "samples": samples}
        return {
            "loss_rpn_cls": [self.weight * 2, self.weight * 3],
            "loss_cls": self.weight.mean(),
            "acc": torch.tensor([55.0]),
        }

    def predict(self, images: Tensor, samples: Any, rescale: bool) -> list[Any]:
        self.asked = {"images": images, "samples": samples, "rescale": rescale}
        found = {
            "bboxes": torch.tensor([[0.0, 1, 2, 3], [1, 1, 4, 4]]),
            "scores": torch.tensor([0.9, 0.5]),
            "labels": torch.tensor([2, 0]),
        }
        return [Named(pred_instances=Named(**(found | self.results))) for _ in samples]


def detector_of_3(**results: Any) -> MMDetDetector:
    return MMDetDetector(
        DetectorOf3(**results), pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3, size_divisibility=16
    )


def truth(**fields: Any) -> Instances:
    return Instances(
        (8, 12),
        gt_boxes=Boxes(torch.tensor([[0.0, 0, 4, 4]])),
        gt_classes=torch.tensor([2]),
        **fields,
    )


@pytest.mark.usefixtures("structures")
def test_version_3_gets_samples_with_ground_truth() -> None:
    model = detector_of_3().train()
    with EventStorage() as storage:
        losses = model([{"image": torch.full((3, 8, 12), 5.0), "instances": truth()}])
    assert {name: loss.item() for name, loss in losses.items()} == {
        "loss_rpn_cls": 5,
        "loss_cls": 1,
    }
    assert storage.latest()["acc"][0] == 55
    (sample,) = model.detector.asked["samples"]
    assert sample.gt_instances.bboxes.tolist() == [[0, 0, 4, 4]]
    assert sample.gt_instances.labels.tolist() == [2]
    assert "masks" not in sample.gt_instances
    assert sample.metainfo["img_shape"] == (8, 12)
    assert sample.metainfo["batch_input_shape"] == sample.metainfo["pad_shape"] == (16, 16)
    with pytest.raises(ValueError, match="'instances'"):
        model([{"image": torch.zeros(3, 8, 12)}])


@pytest.mark.usefixtures("structures")
@pytest.mark.parametrize("version", [2, 3])
def test_masks_are_handed_over_in_the_padded_size(version: int) -> None:
    bitmaps = torch.ones(1, 8, 12, dtype=torch.bool)
    polygons = [[np.array([0.0, 0, 4, 0, 4, 4])]]
    for masks in (BitMasks(bitmaps), PolygonMasks(polygons)):
        model = (detector() if version == 2 else detector_of_3()).train()
        given: dict[str, Any] = {}
        if version == 2:
            model.detector.forward_train = lambda *args, given=given, **more: (
                given.update(more) or {"loss": torch.ones(1)}
            )
        model([{"image": torch.zeros(3, 8, 12), "instances": truth(gt_masks=masks)}])
        if version == 2:
            (handed,) = given["gt_masks"]
        else:
            handed = model.detector.asked["samples"][0].gt_instances.masks
        if isinstance(masks, BitMasks):
            assert handed.masks.shape == (1, 16, 16)
            assert handed.masks[0, :8, :12].all()
            assert handed.masks.sum() == 8 * 12
        else:
            assert handed.size == (16, 16)
            np.testing.assert_array_equal(handed.masks[0][0], polygons[0][0])


@pytest.mark.usefixtures("structures")
@pytest.mark.parametrize("holder", [lambda boxes: boxes, Boxes])
def test_results_of_version_3_become_instances(holder: Any) -> None:
    boxes = holder(torch.tensor([[0.0, 1, 2, 3], [1, 1, 4, 4]]))
    model = detector_of_3(bboxes=boxes).eval()
    (output,) = model([{"image": torch.zeros(3, 8, 12), "height": 16, "width": 36}])
    found = output["instances"]
    assert found.image_size == (16, 36)
    assert found.pred_boxes.tensor.tolist() == [[0, 1, 2, 3], [1, 1, 4, 4]]
    assert found.scores.tolist() == [pytest.approx(0.9), 0.5]
    assert found.pred_classes.tolist() == [2, 0]
    assert not found.has("pred_masks")
    (sample,) = model.detector.asked["samples"]
    assert sample.metainfo["ori_shape"] == (16, 36)
    assert sample.metainfo["scale_factor"] == pytest.approx((1 / 3, 1 / 2))
    assert "gt_instances" not in sample
    assert model.detector.asked["rescale"] is True
    model([{"image": torch.zeros(3, 8, 12)}])
    assert model.detector.asked["rescale"] is False


@pytest.mark.usefixtures("structures")
def test_masks_of_version_3_come_as_they_are() -> None:
    masks = torch.ones(2, 8, 12, dtype=torch.bool)
    (output,) = detector_of_3(masks=masks).eval()([{"image": torch.zeros(3, 8, 12)}])
    assert output["instances"].pred_masks is masks
    nothing = {"bboxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0)}
    model = detector_of_3(masks=torch.zeros(0, 8, 12), **nothing).eval()
    (output,) = model([{"image": torch.zeros(3, 8, 12)}])
    assert output["instances"].pred_masks.dtype == torch.bool


@pytest.mark.parametrize("kind", ["a list", "a pair with scores"])
def test_masks_of_no_detections_have_the_size_of_the_image(kind: str) -> None:
    """Mask scoring heads of version 2 give a pair of masks and their scores."""
    model = detector().eval()
    nothing = [np.zeros((0, 5), np.float32)] * 3
    masks: Any = [[], [], []]
    results = [(nothing, masks if kind == "a list" else (masks, [[], [], []]))]
    model.detector.simple_test = lambda *args, **more: results
    (output,) = model([{"image": torch.zeros(3, 8, 12), "height": 16, "width": 36}])
    assert output["instances"].pred_masks.shape == (0, 16, 36)
    assert len(output["instances"]) == 0


class Initialised(Maps):
    """Of mmdetection since 2.11: what it is filled with is said before."""

    init_cfg: Any = None

    def init_weights(self) -> None:  # type: ignore[override]  # the later protocol
        self.pretrained = self.init_cfg


def test_later_modules_are_told_before_where_weights_are() -> None:
    backbone = MMDetBackbone(
        Initialised(), Initialised(), pretrained_backbone="somewhere", output_shapes=SHAPES
    )
    assert backbone.backbone.pretrained == {"type": "Pretrained", "checkpoint": "somewhere"}
    assert backbone.neck is not None
    assert backbone.neck.pretrained is None
    own = Initialised()
    own.init_cfg = "its own"
    assert MMDetBackbone(own, output_shapes=SHAPES).backbone.pretrained == "its own"


def test_each_part_of_a_neck_is_initialised_and_trained() -> None:
    first, second = Maps(), Maps()
    neck = nn.Sequential(first, second)
    MMDetBackbone(Maps().eval(), neck.eval(), output_shapes=SHAPES)
    assert first.pretrained is second.pretrained is None
    assert first.training
    assert second.training


Built = list[tuple[str, dict[str, Any]]]


def builders(monkeypatch: pytest.MonkeyPatch, version: str) -> Built:
    """A stand-in for a version of mmdetection, and the list of what it is asked to build."""
    built: Built = []

    def build(name: str) -> Any:
        return lambda config: built.append((name, config)) or Initialised()

    contents: dict[str, dict[str, Any]] = {
        "mmdet": {"__version__": version},
        "mmdet.models": {
            name: build(name) for name in ("build_backbone", "build_neck", "build_detector")
        },
        "mmdet.registry": {"MODELS": types.SimpleNamespace(build=build("MODELS"))},
        "mmcv": {"ConfigDict": dict},
        "mmengine": {},
        "mmengine.config": {"ConfigDict": dict},
    }
    for name, values in contents.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return built


def test_configs_are_built_by_the_version_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, neck = {"type": "ResNet", "out_indices": (1, 2)}, {"type": "FPN"}
    for version, names in (("2.28.2", ["build_backbone", "build_neck"]), ("3.3.0", ["MODELS"] * 2)):
        built = builders(monkeypatch, version)
        MMDetBackbone(backbone, neck, output_shapes=SHAPES)
        assert [name for name, _ in built] == names
        assert built[0][1] == {"type": "ResNet", "out_indices": [1, 2]}
        assert built[1][1] == neck


def test_version_3_is_told_of_pretrained_weights_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statistics: dict[str, Any] = {"pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3}
    backbone = {"type": "ResNet", "depth": 18}
    config = {"type": "RetinaNet", "pretrained": "somewhere", "backbone": backbone}
    built = builders(monkeypatch, "3.3.0")
    MMDetDetector(config, **statistics)
    MMDetDetector(config | {"pretrained": None}, **statistics)
    saved = {"type": "Pretrained", "checkpoint": "somewhere"}
    assert built[0][1] == {"type": "RetinaNet", "backbone": backbone | {"init_cfg": saved}}
    assert built[1][1] == {"type": "RetinaNet", "backbone": backbone}
    built = builders(monkeypatch, "2.28.2")
    MMDetDetector(config, **statistics)
    assert built == [("build_detector", config)]
    assert config["pretrained"] == "somewhere"


def test_outputs_that_are_no_sequence_are_named() -> None:
    class One(Maps):
        def forward(self, x: Any) -> Any:
            return x

    backbone = MMDetBackbone(One(), output_shapes=SHAPES)
    with pytest.raises(ValueError, match="2 output_shapes, but gave Tensor outputs"):
        backbone(torch.randn(1, 3, 8, 8))
