"""Detectors in TorchScript, traced and scripted, beside themselves in eager mode."""

import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from d2_config import CfgNode, get_cfg
from d2_modeling import build_model
from d2_modeling.export import TracingAdapter, scripting_with_instances, unscripted_instances
from d2_structures import Boxes, Instances

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit")

FIELDS = {
    "proposal_boxes": Boxes,
    "objectness_logits": Tensor,
    "pred_boxes": Boxes,
    "scores": Tensor,
    "pred_classes": Tensor,
    "pred_masks": Tensor,
}
NAMES = ["RetinaNet", "Faster R-CNN", "Mask R-CNN"]


def tiny_cfg(name: str) -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE = "RetinaNet" if name == "RetinaNet" else "GeneralizedRCNN"
    model.DEVICE, model.MASK_ON = "cpu", name == "Mask R-CNN"
    model.BACKBONE.NAME, model.RESNETS.DEPTH = "build_resnet_fpn_backbone", 18
    model.RESNETS.RES2_OUT_CHANNELS = 64
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.OUT_CHANNELS = model.ROI_MASK_HEAD.CONV_DIM = 8
    model.RETINANET.IN_FEATURES = ["p3", "p4", "p5", "p6"]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    levels = 4 if name == "RetinaNet" else 5
    model.ANCHOR_GENERATOR.SIZES = [[8 * 2**level] for level in range(levels)]
    model.RPN.PRE_NMS_TOPK_TEST, model.RPN.POST_NMS_TOPK_TEST = 60, 40
    model.ROI_HEADS.NAME, model.ROI_HEADS.IN_FEATURES = "StandardROIHeads", ["p2", "p3"]
    model.ROI_HEADS.NUM_CLASSES = model.RETINANET.NUM_CLASSES = 5
    model.ROI_BOX_HEAD.update(NAME="FastRCNNConvFCHead", NUM_FC=1, FC_DIM=8, POOLER_RESOLUTION=7)
    model.ROI_HEADS.SCORE_THRESH_TEST = model.RETINANET.SCORE_THRESH_TEST = 0.0
    cfg.TEST.DETECTIONS_PER_IMAGE = 12
    return cfg


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(3)
    return build_model(tiny_cfg(request.param)).eval()


@pytest.fixture(scope="module")
def scripted(model: Any) -> Any:
    return scripting_with_instances(model, FIELDS)


def inputs_of(*sizes: tuple[int, int]) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(len(sizes))
    return [{"image": torch.rand(3, *size, generator=generator) * 255} for size in sizes]


def raw_inference(model: Any, inputs: Any) -> list[Instances]:
    """Detections in the resolution of the network's input."""
    if hasattr(model, "roi_heads"):
        return model.inference(inputs, do_postprocess=False)
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    maps = [features[name] for name in model.head_in_features]
    found = model.forward_inference(images, maps, model.head(maps))
    for instances in found:
        instances.pred_boxes.clip(instances.image_size)
    return [instances[instances.pred_boxes.nonempty()] for instances in found]


def assert_same(found: Instances, eager: Instances) -> None:
    assert tuple(map(int, found.image_size)) == tuple(map(int, eager.image_size))
    assert sorted(found.get_fields()) == sorted(eager.get_fields())
    torch.testing.assert_close(found.pred_boxes.tensor, eager.pred_boxes.tensor)
    for name, value in eager.get_fields().items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(found.get(name), value)


def test_a_scripted_detector_takes_any_number_of_images_of_any_size(
    model: Any, scripted: Any
) -> None:
    for inputs in (inputs_of((64, 64)), inputs_of((50, 90), (100, 70), (33, 64))):
        with torch.no_grad():
            wanted = raw_inference(model, inputs)
        for method in (scripted, scripted.inference):
            for got, eager in zip(method(inputs), wanted, strict=True):
                assert len(eager) > 0
                assert_same(unscripted_instances(got), eager)


def test_a_saved_scripted_detector_gives_its_tensors(model: Any, scripted: Any) -> None:
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    (image,) = inputs_of((48, 80))
    outputs = loaded.network(image["image"][None], torch.tensor([[48, 80]]))
    with torch.no_grad():
        (wanted,) = raw_inference(model, [image])
    torch.testing.assert_close(outputs[0], wanted.pred_boxes.tensor)


@pytest.mark.parametrize("is_postprocessed", [False, True], ids=["raw", "postprocessed"])
def test_a_traced_detector_holds_for_other_sizes(model: Any, is_postprocessed: bool) -> None:
    has_masks = getattr(getattr(model, "roi_heads", None), "mask_on", False)
    if (is_postprocessed and has_masks) or not (is_postprocessed or hasattr(model, "roi_heads")):
        pytest.skip("masks are pasted afterwards; RetinaNet has no other way than the whole")
    call = None if is_postprocessed else raw_inference
    adapter = TracingAdapter(model, inputs_of((64, 96), (50, 60)), call)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    assert adapter.outputs_schema is not None
    for sizes in (((64, 96), (50, 60)), ((90, 40), (33, 100))):
        other = inputs_of(*sizes)
        found = adapter.outputs_schema(traced(*(entry["image"] for entry in other)))
        with torch.no_grad():
            wanted = model(other) if is_postprocessed else raw_inference(model, other)
        for got, eager in zip(found, wanted, strict=True):
            pair = (got["instances"], eager["instances"]) if is_postprocessed else (got, eager)
            assert_same(*pair)


def test_scripting_names_the_fields_that_are_missing() -> None:
    model = build_model(tiny_cfg("Mask R-CNN")).eval()
    fields = {name: kind for name, kind in FIELDS.items() if name != "pred_masks"}
    with pytest.raises(
        ValueError, match=r"GeneralizedRCNN gives .*: fields lacks \['pred_masks'\]"
    ):
        scripting_with_instances(model, fields)


def test_a_scripted_detector_says_what_it_takes(scripted: Any) -> None:
    with pytest.raises(torch.jit.Error, match="wants a tensor image of shape"):
        scripted([{"image": torch.zeros(4, 32, 32)}])
    with pytest.raises(torch.jit.Error, match="at least one image"):
        scripted([])
    with pytest.raises(torch.jit.Error, match="detector_postprocess afterwards"):
        scripted.inference(inputs_of((32, 32)), do_postprocess=True)
