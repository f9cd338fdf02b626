import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from d2_ops.host import rle_encode
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks
from d2_structures.visualizer import ColorMode, VisImage, Visualizer
from d2_structures.visualizer.segment_layer import _values

HEIGHT, WIDTH = 60, 90
METADATA = SimpleNamespace(
    thing_classes=["cat", "dog"],
    thing_colors=[(255, 0, 0), (0, 0, 255)],
    stuff_classes=["sky", "grass"],
    stuff_colors=[(0, 128, 255), (0, 200, 0)],
)


def photo(height=HEIGHT, width=WIDTH):
    return np.random.default_rng(3).integers(60, 200, (height, width, 3), dtype=np.uint8)


def disc(cx, cy, radius, height=HEIGHT, width=WIDTH):
    ys, xs = np.mgrid[:height, :width] + 0.5
    return np.hypot(xs - cx, ys - cy) < radius


def two_instances(**extra):
    masks = np.stack([disc(25, 30, 14), disc(65, 35, 10)])
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.tensor([[11.0, 16, 39, 44], [55, 25, 75, 45]])),
        pred_classes=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.456]),
        pred_masks=torch.from_numpy(masks),
        **extra,
    )


def changed(before, after):
    return (before != after).any(axis=2)


def test_empty_predictions_return_the_image():
    image = photo()
    empty = Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        pred_classes=torch.zeros(0, dtype=torch.int64),
        scores=torch.zeros(0),
        pred_masks=torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool),
    )
    result = Visualizer(image, METADATA).draw_instance_predictions(empty)
    assert np.array_equal(result.get_image(), image)


def test_predictions_without_any_field_return_the_image():
    image = photo()
    result = Visualizer(image).draw_instance_predictions(Instances((HEIGHT, WIDTH)))
    assert np.array_equal(result.get_image(), image)


def test_drawing_never_writes_to_the_image_it_was_given():
    image = photo()
    before = image.copy()
    visualizer = Visualizer(image, METADATA)
    visualizer.draw_instance_predictions(two_instances())
    assert np.array_equal(image, before)
    assert np.array_equal(visualizer.img, before)


@pytest.mark.parametrize("mode", list(ColorMode))
def test_the_same_predictions_give_the_same_picture(mode):
    pictures = [
        Visualizer(photo(), METADATA, 1.5, mode)
        .draw_instance_predictions(two_instances())
        .get_image()
        for _ in range(2)
    ]
    assert np.array_equal(*pictures)
    assert pictures[0].shape == (90, 135, 3)


def test_masks_change_only_pixels_within_one_of_the_mask():
    image, mask = photo(), disc(45, 30, 15)
    result = Visualizer(image).overlay_instances(masks=[mask]).get_image()
    near = disc(45, 30, 17)
    assert not (changed(image, result) & ~near).any()
    assert changed(image, result)[disc(45, 30, 12)].mean() > 0.9


def mask_kinds():
    square = np.zeros((HEIGHT, WIDTH), bool)
    square[10:40, 20:70] = True
    polygon = [20, 10, 70, 10, 70, 40, 20, 40]
    compressed = rle_encode(square)
    runs = np.diff(np.flatnonzero(np.diff(square.T.ravel(), prepend=0, append=0)), prepend=0)
    counts = [*runs.tolist(), square.size - int(runs.sum())]
    return {
        "array": square[None],
        "tensor": torch.from_numpy(square[None]),
        "uint8": square[None].astype(np.uint8),
        "probabilities": torch.from_numpy(square[None] * 0.9),
        "list of arrays": [square.astype(np.uint8)],
        "bit masks": BitMasks(torch.from_numpy(square[None])),
        "polygon list": [[polygon]],
        "polygon arrays": [[np.array(polygon, float)]],
        "polygon masks": PolygonMasks([[np.array(polygon, float)]]),
        "compressed RLE": [compressed],
        "uncompressed RLE": [{"size": [HEIGHT, WIDTH], "counts": counts}],
    }


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("kind", mask_kinds())
def test_every_kind_of_mask_gives_the_same_inside(kind, scale):
    background = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    drawn = Visualizer(background, scale=scale).overlay_instances(
        masks=mask_kinds()[kind], assigned_colors=["black"], alpha=0.5
    )
    inside = drawn.get_image()[round(14 * scale) : round(36 * scale), round(24 * scale) :]
    inside = inside[:, : round(42 * scale)]
    assert (np.abs(inside.astype(int) - 128) <= 1).all()
    outside = drawn.get_image()[round(44 * scale) :]
    assert (outside == 255).all()


def test_rle_predictions_are_drawn_like_masks():
    instances = two_instances()
    rles = rle_encode(instances.pred_masks.numpy())
    with_rle = Instances(
        (HEIGHT, WIDTH),
        pred_boxes=instances.pred_boxes,
        pred_classes=instances.pred_classes,
        scores=instances.scores,
        pred_masks_rle=rles,
    )
    pictures = [
        Visualizer(photo(), METADATA).draw_instance_predictions(p).get_image()
        for p in (instances, with_rle)
    ]
    assert np.array_equal(*pictures)


def test_grey_mode_greys_everything_outside_the_masks():
    image = photo()
    instances = two_instances()
    instances.remove("pred_boxes")
    instances.remove("scores")
    instances.remove("pred_classes")
    result = (
        Visualizer(image, METADATA, instance_mode=ColorMode.IMAGE_BW)
        .draw_instance_predictions(instances)
        .get_image()
    )
    far = ~(disc(25, 30, 17) | disc(65, 35, 13))
    assert (result[far] == result[far][:, :1]).all()
    inside = result[disc(25, 30, 10)]
    assert (inside != inside[:, :1]).any()


def test_segmentation_mode_takes_similar_colours_within_a_class():
    visualizer = Visualizer(photo(), METADATA, instance_mode=ColorMode.SEGMENTATION)
    reds = visualizer.instance_colors([0, 0, 0], 3)
    blues = visualizer.instance_colors([1, 1, 1], 3)
    assert all(color.red > 0.75 and color.blue < 0.25 for color in reds)
    assert all(color.blue > 0.75 and color.red < 0.25 for color in blues)


def test_image_mode_colours_every_instance_differently():
    colors = Visualizer(photo(), METADATA).instance_colors([0, 0, 0, 0], 4)
    assert len(set(colors)) == 4


def test_metadata_may_be_a_dict():
    instances = Instances((80, 200))
    instances.pred_boxes = Boxes(torch.tensor([[40.0, 40, 150, 75]]))
    instances.scores = torch.tensor([0.9])
    instances.pred_classes = torch.tensor([0])
    named = {"thing_classes": ["cup"]}
    by_dict, by_object, without = (
        Visualizer(np.zeros((80, 200, 3), np.uint8), metadata)
        .draw_instance_predictions(instances)
        .get_image()
        for metadata in (named, SimpleNamespace(**named), None)
    )
    np.testing.assert_array_equal(by_dict, by_object)
    assert (by_dict != without).any()


def test_classes_without_a_name_show_their_number():
    def drawn(metadata, label):
        instances = two_instances()
        instances.pred_classes = torch.tensor([0, label])
        return Visualizer(photo(), metadata).draw_instance_predictions(instances).get_image()

    for metadata in (METADATA, None):
        assert not np.array_equal(drawn(metadata, 7), drawn(metadata, 8))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-30, 100), st.floats(-30, 80), st.floats(0, 90), st.floats(0, 70)),
        max_size=6,
    ),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_any_boxes_and_labels_can_be_drawn(corners, scale):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in corners]).reshape(-1, 4)
    labels = [f"thing {i}" for i in range(len(boxes))]
    output = Visualizer(photo(), scale=scale).overlay_instances(boxes=boxes, labels=labels)
    assert output.get_image().shape == (HEIGHT * scale, WIDTH * scale, 3)


def test_box_outlines_leave_the_inside_alone():
    image = photo()
    result = Visualizer(image).draw_box((10, 10, 70, 50), alpha=1, edge_color="red").get_image()
    assert np.array_equal(result[13:47, 13:67], image[13:47, 13:67])
    assert (result[30, 9:12] == [255, 0, 0]).all(axis=1).any()


def test_boxes_of_five_numbers_are_drawn_rotated():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    turned = Visualizer(image).overlay_instances(boxes=np.array([[45.0, 30, 40, 10, 90]]))
    upright = Visualizer(image).overlay_instances(boxes=np.array([[40.0, 10, 50, 50]]))
    a, b = (changed(image, v.get_image()) for v in (turned, upright))
    ys, xs = np.nonzero(a)
    assert np.abs(np.subtract([xs.min(), xs.max(), ys.min(), ys.max()], [39, 50, 9, 50])).max() <= 1
    assert (a & b).sum() > 0.4 * b.sum()


def test_rotated_overlay_equals_single_rotated_boxes():
    box = (45, 30, 40, 20, 30)
    one = Visualizer(photo()).draw_rotated_box_with_label(box, 0.8, "red", label="x")
    all_at_once = Visualizer(photo()).overlay_rotated_instances(
        np.array([box], float), labels=["x"], assigned_colors=["red"]
    )
    assert np.array_equal(one.get_image(), all_at_once.get_image())


SKELETON = SimpleNamespace(
    keypoint_names=["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"],
    keypoint_connection_rules=[("left_shoulder", "left_hip", (0, 255, 0))],
)
POINTS = np.array([[45, 5, 1], [60, 20, 1], [30, 20, 1], [55, 50, 1], [35, 50, 1]], float)


def test_keypoints_are_joined_by_the_rules():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    joined = Visualizer(image, SKELETON).draw_and_connect_keypoints(POINTS).get_image()
    dots = Visualizer(image).draw_and_connect_keypoints(POINTS).get_image()
    assert (joined[35, 56:60] == [0, 255, 0]).all(axis=1).any()
    assert not dots[35].any()
    assert joined[35, 43:47].any(), "the spine"


def test_invisible_keypoints_and_their_lines_are_left_out():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    points = POINTS.copy()
    points[:, 2] = 0
    result = Visualizer(image, SKELETON).overlay_instances(keypoints=points[None]).get_image()
    assert not result.any()


def test_a_rule_for_an_unknown_keypoint_is_refused():
    metadata = SimpleNamespace(
        keypoint_names=["nose"], keypoint_connection_rules=[("nose", "tail", (0, 0, 0))]
    )
    with pytest.raises(ValueError, match="'tail'"):
        Visualizer(photo(), metadata).draw_and_connect_keypoints(POINTS[:1])


def halves():
    seg = np.zeros((HEIGHT, WIDTH), np.int64)
    seg[30:] = 1
    return seg


def test_semantic_classes_get_their_metadata_colours_and_ignored_pixels_none():
    image, seg = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), halves()
    seg[:, :20] = 255
    result = Visualizer(image, METADATA).draw_sem_seg(torch.from_numpy(seg), alpha=1.0).get_image()
    assert (result[50, 80] == [0, 200, 0]).all()
    assert (result[10, 80] == [0, 128, 255]).all()
    assert np.array_equal(result[:, :18], image[:, :18])


def test_small_parts_of_stuff_are_left_out():
    image, seg = photo(), np.full((HEIGHT, WIDTH), 255)
    seg[5:8, 5:8] = 0
    result = Visualizer(image, METADATA).draw_sem_seg(seg, area_threshold=10).get_image()
    assert np.array_equal(result, image)


@given(hnp.arrays(np.int64, (3, 4), elements=st.integers(-3, 9) | st.integers(-(2**60), 2**60)))
def test_label_values_are_counted_whatever_their_range(label_map):
    values, counts = _values(label_map)
    wanted = np.unique(label_map, return_counts=True)
    assert np.array_equal(values, wanted[0])
    assert np.array_equal(counts, wanted[1])


def test_panoptic_segments_without_info_need_a_divisor():
    with pytest.raises(ValueError, match="label_divisor"):
        Visualizer(photo(), METADATA).draw_panoptic_seg(halves(), None)


def test_panoptic_ids_divide_into_categories():
    metadata = SimpleNamespace(**vars(METADATA), label_divisor=1000)
    metadata.thing_dataset_id_to_contiguous_id = {}
    divided = np.where(halves() == 1, 1000, 0)
    infos = [{"id": i * 1000, "category_id": i, "isthing": False} for i in (0, 1)]
    pictures = [
        Visualizer(photo(), metadata).draw_panoptic_seg(divided, segments).get_image()
        for segments in (None, infos)
    ]
    assert np.array_equal(*pictures)


def test_unlisted_panoptic_segments_stay_as_they_are():
    image = photo()
    infos = [{"id": 1, "category_id": 1, "isthing": False}]
    result = Visualizer(image, METADATA).draw_panoptic_seg(halves(), infos).get_image()
    assert np.array_equal(result[:28], image[:28])
    assert changed(image, result)[32:].mean() > 0.9


def test_dataset_dicts_read_boxes_in_their_mode():
    annotations = [
        {"bbox": [10, 10, 50, 30], "bbox_mode": 1, "category_id": 0},
        {"bbox": [5, 5, 20, 20], "bbox_mode": 0, "category_id": 1, "iscrowd": 1},
    ]
    drawn = Visualizer(photo(), METADATA).draw_dataset_dict({"annotations": annotations})
    same = Visualizer(photo(), METADATA).overlay_instances(
        boxes=np.array([[10.0, 10, 60, 40], [5, 5, 20, 20]]), labels=["cat", "dog|crowd"]
    )
    assert np.array_equal(drawn.get_image(), same.get_image())


def test_dataset_dicts_draw_rotated_boxes_and_keypoints():
    annotations = [
        {"bbox": [45, 30, 40, 20, 30], "bbox_mode": 4, "category_id": 0},
        {"bbox": [5, 5, 20, 20], "bbox_mode": 0, "category_id": 1, "keypoints": POINTS.ravel()},
    ]
    image = photo()
    drawn = Visualizer(image, SKELETON).draw_dataset_dict({"annotations": annotations})
    assert changed(image, drawn.get_image()).any()


def test_dataset_dicts_read_label_maps_from_files(tmp_path):
    Image.fromarray(halves().astype(np.uint8)).save(tmp_path / "sem.png")
    ids = np.where(halves()[..., None] == 1, [1, 2, 0], [0, 0, 0]).astype(np.uint8)
    Image.fromarray(ids).save(tmp_path / "pan.png")
    infos = [{"id": 1 + 2 * 256, "category_id": 1, "isthing": False}]
    from_files = Visualizer(photo(), METADATA).draw_dataset_dict(
        {
            "sem_seg_file_name": str(tmp_path / "sem.png"),
            "pan_seg_file_name": str(tmp_path / "pan.png"),
            "segments_info": infos,
        }
    )
    in_memory = Visualizer(photo(), METADATA).draw_dataset_dict(
        {"sem_seg": halves(), "pan_seg": halves() * 513, "segments_info": infos}
    )
    assert np.array_equal(from_files.get_image(), in_memory.get_image())


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-500, 500),
    st.floats(-500, 500),
    st.sampled_from(["left", "center", "right"]),
    st.sampled_from([0, 30, 90]),
)
def test_text_is_moved_inside_the_picture(x, y, alignment, rotation):
    image = np.full((100, 200, 3), 255, np.uint8)
    result = Visualizer(image).draw_text(
        "label", (x, y), horizontal_alignment=alignment, rotation=rotation
    )
    tag = Visualizer(image).draw_text("label", (100, 40), rotation=rotation)
    areas = [changed(image, v.get_image()).sum() for v in (result, tag)]
    assert abs(int(areas[0]) - int(areas[1])) < 12


def test_text_starts_where_it_was_asked_to():
    image = np.full((100, 200, 3), 255, np.uint8)
    result = Visualizer(image).draw_text("label", (50, 30), horizontal_alignment="left")
    ys, xs = np.nonzero(changed(image, result.get_image()))
    assert (ys.min(), xs.min()) == (30, 50)


def test_circles_have_their_radius():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    result = Visualizer(image, scale=2).draw_circle((45, 30), "white", radius=10).get_image()
    assert result[..., 0].sum() / 255 == pytest.approx(np.pi * 20**2, rel=0.01)


def test_lines_have_their_width():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    result = Visualizer(image).draw_line([10, 80], [30, 30], "white", linewidth=6).get_image()
    assert result[:, 45, 0].sum() / 255 == pytest.approx(6, abs=0.05)


def test_binary_masks_drop_small_parts():
    image = photo()
    mask = disc(20, 30, 3) | disc(60, 30, 15)
    result = Visualizer(image).draw_binary_mask(mask, "red", area_threshold=100).get_image()
    assert np.array_equal(result[:, :40], image[:, :40])
    assert changed(image, result)[disc(60, 30, 12)].mean() > 0.9


def test_an_empty_mask_with_text_draws_nothing():
    image = photo()
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    result = Visualizer(image).draw_binary_mask(mask, text="nothing", area_threshold=5)
    assert np.array_equal(result.get_image(), image)


def test_polygons_outside_the_picture_draw_nothing():
    image = photo()
    polygon = np.array([[-50, -50], [-20, -50], [-30, -20]])
    assert np.array_equal(Visualizer(image).draw_polygon(polygon, "red").get_image(), image)


BAD_CALLS = {
    "boxes must have shape": lambda v: v.overlay_instances(boxes=np.zeros((2, 3))),
    "boxes hold NaN": lambda v: v.overlay_instances(boxes=np.full((1, 4), np.nan)),
    "differ in their number": lambda v: v.overlay_instances(boxes=np.zeros((2, 4)), labels=["a"]),
    "'assigned_colors': 1": lambda v: v.overlay_instances(
        boxes=np.zeros((2, 4)), assigned_colors=["red"]
    ),
    "masks have shape": lambda v: v.overlay_instances(masks=np.zeros((1, 5, 5), bool)),
    "paste them": lambda v: v.overlay_instances(masks=torch.zeros(2, 1, 28, 28)),
    "a mask has shape": lambda v: v.overlay_instances(masks=[np.zeros((5, 5), bool)]),
    "at least 6 coordinates, got 4": lambda v: v.overlay_instances(masks=[[[1, 2, 3, 4]]]),
    "'size' and 'counts'": lambda v: v.overlay_instances(masks=[{"size": [1, 1]}]),
    "keypoints must have shape": lambda v: v.overlay_instances(keypoints=np.zeros((2, 5))),
    r"shape \(N, 5\)": lambda v: v.overlay_rotated_instances(np.zeros((1, 4))),
    "sem_seg must have shape": lambda v: v.draw_sem_seg(np.zeros((5, 5), int)),
    "binary_mask must have shape": lambda v: v.draw_binary_mask(np.zeros((5, 5))),
    "lacks": lambda v: v.draw_panoptic_seg(np.zeros((HEIGHT, WIDTH), int), [{"id": 1}]),
    "horizontal_alignment": lambda v: v.draw_text("a", (1, 1), horizontal_alignment="top"),
    "font_size": lambda v: v.draw_text("a", (1, 1), font_size=0),
    "coordinates hold NaN": lambda v: v.draw_text("a", (float("nan"), 1)),
    "radius": lambda v: v.draw_circle((1, 1), "r", radius=0),
    "equally long": lambda v: v.draw_line([1, 2], [1], "r"),
    "linewidth": lambda v: v.draw_line([1, 2], [1, 2], "r", linewidth=-1),
    "box_coord needs": lambda v: v.draw_box((1, 2, 3, 4, 5)),
    "rotated_box needs": lambda v: v.draw_rotated_box_with_label((1, 2, 3, 4)),
    "keypoint numbers": lambda v: v.draw_dataset_dict(
        {"annotations": [{"keypoints": [1, 2, 3]}, {"keypoints": [1, 2, 3, 4, 5, 6]}]}
    ),
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_bad_input_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        BAD_CALLS[message](Visualizer(photo()))


@pytest.mark.parametrize("masks", ["abc", 5, [object()], [np.zeros((2, 2, 2))]])
def test_unknown_kinds_of_masks_are_refused(masks):
    with pytest.raises(TypeError, match="cannot draw"):
        Visualizer(photo()).overlay_instances(masks=masks)


def test_label_maps_must_hold_integers():
    with pytest.raises(TypeError, match="sem_seg must hold integers"):
        Visualizer(photo()).draw_sem_seg(np.zeros((HEIGHT, WIDTH)))


@pytest.mark.parametrize("shape", [(3, 40, 50), (0, 5, 3), (4, 4, 4), (5,)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        VisImage(np.zeros(shape))


def test_images_of_other_types_are_read_or_refused():
    assert VisImage(np.full((4, 5), 7.6)).get_image().tolist() == [[[8] * 3] * 5] * 4
    assert VisImage(np.full((4, 5, 3), 300)).get_image().max() == 255
    with pytest.raises(TypeError, match="numeric"):
        VisImage([["a"]])
    with pytest.raises(ValueError, match="NaN"):
        VisImage(np.full((4, 5, 3), np.nan))
    with pytest.raises(ValueError, match="scale"):
        VisImage(np.zeros((4, 5, 3)), scale=0)


def test_pictures_are_saved_complete_or_not_at_all(tmp_path):
    picture = Visualizer(photo()).draw_box((10, 10, 70, 50))
    picture.save(tmp_path / "out.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), picture.get_image())
    picture.save(str(tmp_path / "out.jpg"))
    with pytest.raises(ValueError, match=r"out\.pictures"):
        picture.save(tmp_path / "out.pictures")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jpg", "out.png"]


def test_pictures_show_themselves_in_notebooks():
    assert VisImage(photo())._repr_png_().startswith(b"\x89PNG")


def test_the_documented_parameters_are_there():
    methods = {
        "draw_sem_seg": ["sem_seg", "area_threshold", "alpha"],
        "draw_panoptic_seg": ["panoptic_seg", "segments_info", "area_threshold", "alpha"],
        "draw_line": ["x_data", "y_data", "color", "linestyle", "linewidth"],
        "draw_circle": ["circle_coord", "color", "radius"],
        "draw_polygon": ["segment", "color", "edge_color", "alpha"],
        "draw_box": ["box_coord", "alpha", "edge_color", "line_style"],
        "overlay_rotated_instances": ["boxes", "labels", "assigned_colors"],
    }
    for name, parameters in methods.items():
        assert list(inspect.signature(getattr(Visualizer, name)).parameters)[1:] == parameters


def test_grey_mode_without_masks_greys_everything():
    instances = two_instances()
    for name in ("pred_masks", "pred_boxes", "scores", "pred_classes"):
        instances.remove(name)
    instances.ID = torch.tensor([1, 2])
    visualizer = Visualizer(photo(), METADATA, instance_mode=ColorMode.IMAGE_BW)
    result = visualizer.draw_instance_predictions(instances).get_image()
    assert (result == result[..., :1]).all()


def test_predictions_are_drawn_by_the_overlay_and_the_jitter_of_a_subclass():
    class Mine(Visualizer):
        def _jitter(self, color):
            jittered.append(tuple(color)[:3])
            return (1.0, 1.0, 0.0)

        def overlay_instances(self, *, boxes=None, labels=None, masks=None, **options):
            overlaid.append((labels, [tuple(c)[:3] for c in options["assigned_colors"]]))
            return super().overlay_instances(boxes=boxes, labels=None, masks=masks, **options)

    jittered, overlaid = [], []
    visualizer = Mine(photo(), METADATA, instance_mode=ColorMode.SEGMENTATION)
    visualizer.draw_instance_predictions(two_instances())
    assert jittered == [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
    assert overlaid == [(["cat 90%", "dog 46%"], [(1.0, 1.0, 0.0)] * 2)]
    annotation = {"bbox": [1, 2, 3, 4], "bbox_mode": 0, "category_id": 1}
    visualizer.draw_dataset_dict({"annotations": [annotation]})
    assert overlaid[1][0] == ["dog"]
