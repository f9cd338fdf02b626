import d2_structures
from d2_structures import conversions

PUBLIC = [
    "ArrayPickleError",
    "BitMasks",
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "Keypoints",
    "NotAPictureError",
    "PolygonMasks",
    "RLEMasks",
    "ROIMasks",
    "RotatedBoxes",
    "allow_picture_format",
    "check_picture_file",
    "heatmaps_to_keypoints",
    "import_optional",
    "load_array_pickle",
    "matched_boxlist_iou",
    "matched_pairwise_iou",
    "open_picture",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_iou_rotated",
    "pairwise_point_box_distance",
    "polygons_to_bitmask",
]


def test_the_public_names_are_these():
    assert sorted(d2_structures.__all__) == PUBLIC


def test_every_public_name_exists_and_says_what_it_is():
    for name in PUBLIC:
        assert getattr(d2_structures, name).__doc__


def test_the_public_conversions_are_these():
    assert conversions.__all__ == [
        "instances_from_coco",
        "instances_from_numpy",
        "instances_from_supervision",
        "instances_from_tv_tensors",
        "instances_to_coco",
        "instances_to_supervision",
        "instances_to_tv_tensors",
        "predictions_to_coco_results",
    ]
