"""Methods that projects overwrite are called where a detector does its work."""

from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_modeling import build_model
from d2_modeling.poolers import ROIPooler
from d2_structures import Boxes, Instances, PolygonMasks


def config(heads: str) -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.DEVICE = "cpu"
    model.MASK_ON = True
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.FPN.OUT_CHANNELS = 8
    model.RPN.IN_FEATURES = model.ROI_HEADS.IN_FEATURES = ["p4", "p5"]
    model.RPN.POST_NMS_TOPK_TEST = 20
    model.ROI_HEADS.NAME, model.ROI_BOX_HEAD.NAME = heads, "FastRCNNConvFCHead"
    model.ROI_HEADS.NUM_CLASSES = 3
    model.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = heads == "CascadeROIHeads"
    model.ROI_BOX_HEAD.USE_SIGMOID_CE = heads == "CascadeROIHeads"
    model.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    model.ROI_MASK_HEAD.NUM_CONV, model.ROI_MASK_HEAD.CONV_DIM = 1, 4
    return cfg


def image() -> dict[str, Any]:
    box = torch.tensor([[4.0, 4, 60, 70]])
    instances = Instances((80, 96), gt_boxes=Boxes(box), gt_classes=torch.tensor([1]))
    instances.gt_masks = PolygonMasks([[[4.0, 4, 60, 4, 60, 70]]])
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 255, (3, 80, 96), generator=generator, dtype=torch.uint8)
    return {"image": pixels, "instances": instances}


def overwrite(module: nn.Module, *names: str) -> list[str]:
    """Give a module a subclass whose methods note that they were called."""
    called: list[str] = []

    def noting(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return getattr(super(subclass, self), name)(*args, **kwargs)

        return method

    subclass: Any = type("Overwritten", (type(module),), {name: noting(name) for name in names})
    module.__class__ = subclass
    return called


def run(model: nn.Module, *, training: bool) -> Any:
    torch.manual_seed(0)
    model.train(training)
    with torch.set_grad_enabled(training):
        return model([image()])


METHODS: list[tuple[str, str, bool, tuple[str, ...]]] = [
    (
        "StandardROIHeads",
        "roi_heads",
        True,
        (
            "_forward_box",
            "_forward_mask",
            "_forward_keypoint",
            "label_and_sample_proposals",
            "_sample_proposals",
            "forward",
        ),
    ),
    (
        "StandardROIHeads",
        "roi_heads",
        False,
        ("_forward_box", "_forward_mask", "_forward_keypoint", "forward_with_given_boxes"),
    ),
    (
        "StandardROIHeads",
        "roi_heads.box_predictor",
        True,
        ("forward", "losses", "box_reg_loss"),
    ),
    (
        "StandardROIHeads",
        "roi_heads.box_predictor",
        False,
        ("forward", "inference", "predict_boxes", "predict_probs"),
    ),
    ("StandardROIHeads", "roi_heads.box_pooler", False, ("forward",)),
    (
        "StandardROIHeads",
        "proposal_generator",
        True,
        ("forward", "label_and_sample_anchors", "_subsample_labels", "losses", "predict_proposals"),
    ),
    ("StandardROIHeads", "", True, ("forward", "preprocess_image")),
    ("StandardROIHeads", "", False, ("inference", "preprocess_image")),
    (
        "CascadeROIHeads",
        "roi_heads",
        True,
        ("_forward_box", "_run_stage", "_create_proposals_from_boxes", "_match_and_label_boxes"),
    ),
    (
        "CascadeROIHeads",
        "roi_heads",
        False,
        ("_forward_box", "_run_stage", "_create_proposals_from_boxes"),
    ),
    (
        "CascadeROIHeads",
        "roi_heads.box_predictor.1",
        True,
        ("losses", "predict_boxes", "sigmoid_cross_entropy_loss"),
    ),
    ("CascadeROIHeads", "roi_heads.box_predictor.1", False, ("predict_boxes", "predict_probs")),
]


@pytest.mark.parametrize(("heads", "part", "training", "names"), METHODS)
def test_overwritten_methods_are_called(
    heads: str, part: str, training: bool, names: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    model = build_model(config(heads))
    module = model.get_submodule(part)
    called = overwrite(module, *names)
    run(model, training=training)
    assert set(called) == set(names)


@pytest.mark.parametrize("training", [True, False])
def test_what_forward_box_returns_is_what_comes_out(training: bool) -> None:
    model = build_model(config("StandardROIHeads"))

    class Doubled(type(model.roi_heads)):  # type: ignore[misc]  # a class found at run time
        def _forward_box(self, features: Any, proposals: Any) -> Any:
            found = super()._forward_box(features, proposals)
            if self.training:
                return {"loss_of_mine": sum(found.values()) * 2}
            return [instances[:1] for instances in found]

    before = run(model, training=training)
    model.roi_heads.__class__ = Doubled
    after = run(model, training=training)
    if training:
        wanted = 2 * (before["loss_cls"] + before["loss_box_reg"])
        torch.testing.assert_close(after["loss_of_mine"], wanted)
        assert "loss_cls" not in after
        assert "loss_mask" in after
    else:
        assert len(after[0]["instances"]) == 1 < len(before[0]["instances"])


def test_the_mask_head_of_a_subclass_gets_all_sampled_proposals() -> None:
    model = build_model(config("StandardROIHeads"))
    seen: list[Instances] = []

    class Watching(type(model.roi_heads)):  # type: ignore[misc]  # a class found at run time
        def _forward_mask(self, features: Any, instances: list[Instances]) -> Any:
            seen.extend(instances)
            return super()._forward_mask(features, instances)

    model.roi_heads.__class__ = Watching
    run(model, training=True)
    classes = seen[0].gt_classes
    assert (classes == 3).any()
    assert (classes == 1).any()


def test_post_processing_can_be_overwritten() -> None:
    model = build_model(config("StandardROIHeads"))

    class Numbered(type(model)):  # type: ignore[misc]  # a class found at run time
        @staticmethod
        def _postprocess(instances: Any, batched_inputs: Any, image_sizes: Any) -> Any:
            return [{"size": size} for size in image_sizes]

    model.__class__ = Numbered
    assert run(model, training=False) == [{"size": (80, 96)}]


@pytest.mark.parametrize("kind", ["ROIAlignV2", "ROIAlign", "ROIPool"])
def test_a_pooler_of_each_level_gives_what_the_whole_pooler_gives(kind: str) -> None:
    pooler = ROIPooler(3, [1 / 4, 1 / 8], 2, kind)
    maps = [torch.randn(1, 2, 16, 16), torch.randn(1, 2, 8, 8)]
    small, large = torch.tensor([[1.0, 2, 9, 12]]), torch.tensor([[0.0, 0, 600, 600]])
    with_index = [torch.nn.functional.pad(box, (1, 0)) for box in (small, large)]
    for level, (box, feature) in enumerate(zip((small, large), maps, strict=True)):
        expected = pooler.level_poolers[level](feature, with_index[level])
        torch.testing.assert_close(pooler(maps, [Boxes(box)]), expected)
