"""Instances to NumPy, COCO, torchvision and supervision, and back."""

import json
import sys
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from d2_structures import (
    BitMasks,
    Boxes,
    Instances,
    Keypoints,
    PolygonMasks,
    RLEMasks,
    RotatedBoxes,
)
from d2_structures.conversions import (
    instances_from_coco,
    instances_from_numpy,
    instances_from_supervision,
    instances_from_tv_tensors,
    instances_to_coco,
    instances_to_supervision,
    instances_to_tv_tensors,
)

SIZE = (40, 60)
ID_MAP = {1: 0, 7: 1, 90: 2}
BOXES = [[2.5, 3.0, 20.0, 30.0], [10.0, 5.0, 50.0, 35.5]]
ROTATED = [[20.0, 15.0, 12.0, 6.0, 30.0], [40.0, 20.0, 8.0, 10.0, -100.0]]
POLYGONS = [[[2.5, 3, 20, 3, 20, 30]], [[10, 5, 50, 5, 50, 35.5], [12, 8, 20, 8, 20, 12]]]
KEYPOINTS = [[[3.5, 4.5, 2], [0, 0, 0]], [[11.5, 6.5, 1], [48.5, 30.5, 2]]]


def truth(masks="polygon", boxes=BOXES, crowd=False):
    instances = Instances(SIZE)
    instances.gt_boxes = RotatedBoxes(boxes) if len(boxes[0]) == 5 else Boxes(boxes)
    instances.gt_classes = torch.tensor([2, 1])
    if masks:
        polygons = PolygonMasks(POLYGONS)
        bitmaps = BitMasks.from_polygon_masks(polygons, *SIZE)
        instances.gt_masks = polygons if masks == "polygon" else bitmaps
    instances.gt_keypoints = Keypoints(KEYPOINTS)
    if crowd:
        instances.gt_iscrowd = torch.tensor([True, False])
    return instances


def predictions(boxes=BOXES):
    instances = Instances(SIZE)
    instances.pred_boxes = RotatedBoxes(boxes) if len(boxes[0]) == 5 else Boxes(boxes)
    instances.pred_classes = torch.tensor([0, 2])
    instances.scores = torch.tensor([0.5, 0.25])
    instances.pred_masks = BitMasks.from_polygon_masks(PolygonMasks(POLYGONS), *SIZE).tensor
    instances.pred_keypoints = torch.tensor(KEYPOINTS) + torch.tensor([0.25, 0, 0])
    return instances


def assert_same(got, wanted):
    assert got.image_size == wanted.image_size
    assert got.get_fields().keys() == wanted.get_fields().keys()
    for name, value in wanted.get_fields().items():
        other = got.get(name)
        assert type(other) is type(value), name
        if isinstance(value, PolygonMasks):
            assert [len(p) for p in other] == [len(p) for p in value]
            flat, wanted_flat = (list(chain.from_iterable(m.polygons)) for m in (other, value))
            assert all(map(np.array_equal, flat, wanted_flat))
        elif isinstance(value, list):
            assert other == value
        else:
            assert_close(getattr(other, "tensor", other), getattr(value, "tensor", value))


VARIANTS = {
    "truth with polygons": truth,
    "truth with bitmaps": lambda: truth("bitmap", crowd=True),
    "rotated truth": lambda: truth(None, ROTATED),
    "predictions": predictions,
    "rotated predictions": lambda: predictions(ROTATED),
}
EMPTY = {
    "no truth": lambda: truth()[:0],
    "no predictions": lambda: predictions()[:0],
}


@pytest.mark.parametrize("build", VARIANTS.values(), ids=VARIANTS)
def test_coco_annotations_survive_json_and_come_back(build):
    annotations = json.loads(json.dumps(instances_to_coco(build(), 5, id_map=ID_MAP, first_id=10)))
    assert [a["id"] for a in annotations] == [10, 11]
    back = instances_from_coco(annotations, SIZE, id_map=ID_MAP)
    if not back.has("pred_boxes") and not build().has("gt_iscrowd"):
        assert not back.gt_iscrowd.any()
        back.remove("gt_iscrowd")
    assert_same(back, build())


def test_coco_annotations_say_what_coco_wants():
    first, second = instances_to_coco(truth(), "a.jpg", id_map=ID_MAP)
    assert first == {
        "image_id": "a.jpg",
        "category_id": 90,
        "bbox": [2.5, 3.0, 17.5, 27.0],
        "segmentation": [[2.5, 3.0, 20.0, 3.0, 20.0, 30.0]],
        "keypoints": [3.0, 4.0, 2.0, 0.0, 0.0, 0.0],
        "area": float(BitMasks.from_polygon_masks(PolygonMasks(POLYGONS), *SIZE).tensor[0].sum()),
        "iscrowd": 0,
        "num_keypoints": 1,
    }
    assert second["num_keypoints"] == 2
    (result, _) = instances_to_coco(predictions(), 1)
    assert sorted(result) == [
        *("bbox", "category_id", "image_id", "keypoints", "score", "segmentation")
    ]
    assert result["segmentation"]["size"] == [40, 60]


def test_boxes_alone_give_their_area_and_no_ids():
    instances = Instances(SIZE, gt_boxes=Boxes(BOXES), gt_classes=torch.tensor([0, 1]))
    first = instances_to_coco(instances, 1)[0]
    assert first["area"] == 17.5 * 27
    assert "id" not in first
    assert "segmentation" not in first


def test_mixed_segmentations_become_bitmaps_and_missing_ones_are_empty():
    annotations = instances_to_coco(truth(), 1)
    rle = instances_to_coco(truth("bitmap"), 1)[1]["segmentation"]
    mixed = [annotations[0], {**annotations[1], "segmentation": rle}, dict(annotations[0])]
    del mixed[2]["segmentation"], mixed[2]["keypoints"]
    got = instances_from_coco(mixed, SIZE)
    drawn = BitMasks.from_polygon_masks(PolygonMasks([*POLYGONS, []]), *SIZE)
    assert torch.equal(got.gt_masks.tensor, drawn.tensor)
    assert not got.gt_keypoints.tensor[2].any()
    bitmaps = instances_from_coco(annotations, SIZE, mask_format="bitmask").gt_masks
    assert torch.equal(bitmaps.tensor, drawn.tensor[:2])
    encoded = instances_from_coco(mixed, SIZE, mask_format="rle").gt_masks
    assert type(encoded) is RLEMasks
    assert torch.equal(encoded.to_bitmasks().tensor, drawn.tensor)
    with pytest.raises(ValueError, match="annotation 1 is run lengths"):
        instances_from_coco(mixed, SIZE, mask_format="polygon")


def test_the_mode_of_a_box_is_obeyed():
    box = {"bbox": [1, 2, 11, 22], "bbox_mode": 0, "category_id": 0}
    assert instances_from_coco([box], SIZE).gt_boxes.tensor.tolist() == [[1, 2, 11, 22]]
    turned = {"bbox": [10, 10, 4, 2, 90], "category_id": 0}
    both = instances_from_coco([box, turned], SIZE).gt_boxes
    assert type(both) is RotatedBoxes
    assert both.tensor.tolist() == [[6, 12, 10, 20, 0], [10, 10, 4, 2, 90]]


GOOD = {"bbox": [1, 2, 3, 4], "category_id": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, "annotation 1 must be 4 numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "annotation 1 must be 4 numbers.*finite"),
        ({"bbox": [1, 2, -3, 4]}, "annotation 1 has a negative size"),
        ({"category_id": 3}, "category_id 3 of annotation 1 is not in id_map"),
        ({"keypoints": [1, 2]}, "keypoints of annotation 1"),
        ({"keypoints": "left"}, "keypoints of annotation 1 is 'left'"),
        ({"bbox": None}, "bbox of annotation 1 is None"),
        ({"bbox_mode": 77}, "bbox_mode of annotation 1 is 77"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "polygon 0 of instance 1"),
        (
            {"segmentation": {"size": [9, 9], "counts": [81]}},
            r"RLE 1 has size \[9, 9\], wanted \[40, 60\]",
        ),
    ],
)
def test_a_bad_annotation_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        instances_from_coco([GOOD, GOOD | change], SIZE, id_map=ID_MAP)


def test_what_is_no_annotation_is_refused():
    with pytest.raises(TypeError, match="annotation 1 must be a dict, got 3"):
        instances_from_coco([GOOD, 3], SIZE)
    with pytest.raises(TypeError, match="list of dicts, got a single dict"):
        instances_from_coco(GOOD, SIZE)
    with pytest.raises(ValueError, match="category_id of annotation 0 must be an integer"):
        instances_from_coco([GOOD | {"category_id": "dog"}], SIZE)
    with pytest.raises(ValueError, match="score of annotation 0 is 'high'"):
        instances_from_coco([GOOD | {"score": "high"}], SIZE)


def test_a_segmentation_that_is_neither_polygons_nor_run_lengths_is_refused():
    with pytest.raises(TypeError, match="instance 1 must be a list of polygons, got str"):
        instances_from_coco([GOOD, GOOD | {"segmentation": "mask"}], SIZE)


def test_incomplete_instances_and_annotations_are_refused():
    with pytest.raises(ValueError, match=r"annotation 0 lacks \['category_id'\]"):
        instances_from_coco([{"bbox": [1, 2, 3, 4]}], SIZE)
    unscored = Instances(SIZE, pred_boxes=Boxes(BOXES), pred_classes=torch.zeros(2))
    with pytest.raises(ValueError, match="need scores for COCO"):
        instances_to_coco(unscored, 1)
    with pytest.raises(ValueError, match="either pred_boxes or gt_boxes"):
        instances_to_coco(Instances(SIZE, proposal_boxes=Boxes(BOXES)), 1)
    with pytest.raises(TypeError, match="gt_boxes must be Boxes"):
        instances_to_coco(Instances(SIZE, gt_boxes=torch.zeros(2, 4)), 1)
    with pytest.raises(ValueError, match=r"classes \[2\] are not among"):
        instances_to_coco(truth(), 1, id_map={1: 0, 7: 1})
    broken = predictions()
    broken.scores = torch.tensor([0.5, float("inf")])
    with pytest.raises(ValueError, match="scores hold NaN or infinity"):
        instances_to_coco(broken, 1)
    with pytest.raises(ValueError, match="mask_format"):
        instances_from_coco([GOOD], SIZE, mask_format="polygons")


def test_no_annotations_give_no_instances_and_none_come_back():
    nothing = instances_from_coco([], SIZE)
    assert len(nothing) == 0
    assert nothing.gt_boxes.tensor.shape == (0, 4)
    assert instances_to_coco(nothing, 1) == []
    for build in EMPTY.values():
        assert instances_to_coco(build(), 1) == []


@given(
    st.lists(
        st.tuples(*[st.floats(-100, 100, width=32)] * 2, *[st.floats(0, 100, width=32)] * 2),
        max_size=4,
    )
)
def test_boxes_written_in_cocos_way_are_read_back(numbers):
    annotations = [{"bbox": list(box), "category_id": 1} for box in numbers]
    instances = instances_from_coco(annotations, SIZE)
    written = [a["bbox"] for a in instances_to_coco(instances, 1)]
    assert_close(torch.tensor(written), torch.tensor(numbers), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("build", [*VARIANTS.values(), *EMPTY.values()], ids=[*VARIANTS, *EMPTY])
def test_arrays_become_what_they_were(build):
    arrays = build().numpy()
    kept = [name for name, value in arrays.items() if not isinstance(value, np.ndarray)]
    assert kept in ([], ["gt_masks"])
    assert_same(instances_from_numpy(arrays, SIZE), build())


def test_arrays_are_shared_and_other_values_kept():
    scores = np.array([0.5, 0.25], np.float32)
    instances = instances_from_numpy({"scores": scores, "names": ["a", "b"]}, SIZE)
    scores[0] = 1
    assert instances.scores.tolist() == [1, 0.25]
    assert instances.names == ["a", "b"]
    scores.setflags(write=False)
    assert instances_from_numpy({"scores": scores}, SIZE).scores.tolist() == [1, 0.25]
    with pytest.raises(ValueError, match="field 'names' has length 3"):
        instances_from_numpy({"scores": scores, "names": list("abc")}, SIZE)


@pytest.mark.parametrize("convert", [instances_to_tv_tensors, instances_to_supervision])
def test_an_absent_package_is_named_with_the_extra_that_installs_it(convert, monkeypatch):
    for module in ("torchvision", "torchvision.tv_tensors", "supervision"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'd2-structures\[(torchvision|superv)"):
        convert(truth())


def bitmap_truth(build):
    """What comes back from where masks are bitmaps."""
    instances = build()
    if instances.has("gt_masks") and isinstance(instances.gt_masks, PolygonMasks):
        instances.gt_masks = BitMasks.from_polygon_masks(instances.gt_masks, *SIZE)
    if instances.has("gt_iscrowd"):
        instances.remove("gt_iscrowd")
    return instances


@pytest.mark.parametrize("build", [*VARIANTS.values(), *EMPTY.values()], ids=[*VARIANTS, *EMPTY])
def test_torchvision_targets_come_back(build):
    tv_tensors = pytest.importorskip("torchvision.tv_tensors", reason="needs torchvision")
    if not hasattr(tv_tensors, "KeyPoints"):
        pytest.skip("needs torchvision 0.23, which has keypoints and rotated boxes")
    target = instances_to_tv_tensors(build())
    assert type(target["boxes"]) is tv_tensors.BoundingBoxes
    assert_same(instances_from_tv_tensors(target), bitmap_truth(build))


def test_torchvision_flips_what_we_give_it_as_we_do():
    v2 = pytest.importorskip("torchvision.transforms.v2", reason="needs torchvision")
    if not hasattr(pytest.importorskip("torchvision.tv_tensors"), "KeyPoints"):
        pytest.skip("needs torchvision 0.23, which has keypoints and rotated boxes")
    for build in (truth, lambda: truth(None, ROTATED)):
        flip = v2.RandomHorizontalFlip(1.0)
        flipped = instances_from_tv_tensors(flip(instances_to_tv_tensors(build())))
        points, original = flipped.gt_keypoints.tensor, build().gt_keypoints.tensor
        seen = original[..., 2] > 0
        assert_close(points[..., 0][seen], SIZE[1] - original[..., 0][seen])
        if type(flipped.gt_boxes) is RotatedBoxes:
            x, y, w, h, angle = build().gt_boxes.tensor.unbind(dim=1)
            wanted = torch.stack((SIZE[1] - x, y, w, h, -angle), dim=1)
            assert_close(flipped.gt_boxes.tensor, wanted)
        else:
            x1, y1, x2, y2 = build().gt_boxes.tensor.unbind(dim=1)
            wanted = torch.stack((SIZE[1] - x2, y1, SIZE[1] - x1, y2), dim=1)
            assert_close(flipped.gt_boxes.tensor, wanted)
            mask = bitmap_truth(build).gt_masks.tensor.flip(2)
            assert torch.equal(flipped.gt_masks.tensor, mask)


@pytest.mark.parametrize("name", ["XYXY", "XYWH", "CXCYWH", "XYWHR", "CXCYWHR", "XYXYXYXY"])
def test_every_format_of_torchvision_boxes_is_read(name):
    tv_tensors = pytest.importorskip("torchvision.tv_tensors", reason="needs torchvision")
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    if name not in tv_tensors.BoundingBoxFormat.__members__:
        pytest.skip(f"this torchvision has no {name}")
    rotated = name in ("XYWHR", "CXCYWHR", "XYXYXYXY")
    wanted = RotatedBoxes(ROTATED) if rotated else Boxes(BOXES)
    boxes = instances_to_tv_tensors(Instances(SIZE, gt_boxes=wanted))["boxes"]
    written = functional.convert_bounding_box_format(
        boxes, new_format=tv_tensors.BoundingBoxFormat[name]
    )
    got = instances_from_tv_tensors({"boxes": written}).gt_boxes
    assert type(got) is type(wanted)
    assert type(got.tensor) is torch.Tensor
    assert_close(got.tensor, wanted.tensor, rtol=1e-4, atol=1e-3)


def test_plain_targets_need_an_image_size_and_boxes():
    pytest.importorskip("torchvision.tv_tensors", reason="needs torchvision")
    plain = {"boxes": torch.tensor(BOXES), "keypoints": torch.tensor(KEYPOINTS)[..., :2]}
    got = instances_from_tv_tensors(plain, SIZE)
    assert (got.gt_keypoints.tensor[..., 2] == 2).all()
    with pytest.raises(ValueError, match="give image_size"):
        instances_from_tv_tensors(plain)
    with pytest.raises(ValueError, match="needs 'boxes'"):
        instances_from_tv_tensors({"labels": torch.zeros(1)}, SIZE)
    with pytest.raises(ValueError, match="do not fit an image"):
        instances_from_tv_tensors(plain | {"masks": torch.zeros(2, 3, 4, dtype=bool)}, SIZE)


@pytest.fixture
def supervision():
    return pytest.importorskip("supervision", reason="needs supervision")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("build", [*VARIANTS.values(), *EMPTY.values()], ids=[*VARIANTS, *EMPTY])
def test_detections_come_back(build, supervision):
    instances = build()
    instances.ID = torch.arange(len(instances))
    detections = instances_to_supervision(instances)
    assert type(detections) is supervision.Detections
    wanted = bitmap_truth(build)
    wanted.ID = torch.arange(len(wanted))
    back = instances_from_supervision(detections, SIZE)
    for name in ("gt_boxes", "pred_boxes"):
        if back.has(name) and type(back.get(name)) is RotatedBoxes:
            back.get(name).normalize_angles()
    assert_same(back, wanted)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_detections_tell_their_size_by_their_masks_only(supervision):
    detections = instances_to_supervision(predictions())
    assert instances_from_supervision(detections).image_size == SIZE
    detections.mask = None
    detections.data["class_name"] = np.array(["cat", "dog"])
    with pytest.raises(ValueError, match="give it"):
        instances_from_supervision(detections)
    assert instances_from_supervision(detections, SIZE).class_names == ["cat", "dog"]
