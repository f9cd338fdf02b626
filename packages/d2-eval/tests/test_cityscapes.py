"""Cityscapes' metrics: the original's figures, and the rules on small files."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image

from d2_data import Metadata, MetadataCatalog
from d2_eval import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from d2_structures import Instances

THINGS = ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
ROAD, CAR, CARAVAN, PERSON, RIDER = 7, 26, 29, 24, 25


def classes() -> list[str]:
    names: list[str] = MetadataCatalog.get("cityscapes_fine_sem_seg_val").stuff_classes
    return names


def test_golden_predictions_give_the_originals_figures(golden, golden_instances):
    folder = golden("cityscapes", "gtFine")
    metadata = Metadata(
        name="toys", gt_dir=str(folder / "val"), thing_classes=THINGS, stuff_classes=classes()
    )
    expected = golden("cityscapes", "expected.json")
    masks, pixels = CityscapesInstanceEvaluator(metadata), CityscapesSemSegEvaluator(metadata)
    for evaluator in (masks, pixels):
        evaluator.reset()
    for entry in golden("cityscapes", "predictions.json.gz"):
        masks.process([entry], [{"instances": golden_instances(entry)}])
        labels = torch.from_numpy(np.array(Image.open(folder.parent / entry["sem_seg"])))
        pixels.process(
            [entry],
            [{"sem_seg": torch.nn.functional.one_hot(labels.long(), 19).permute(2, 0, 1).float()}],
        )
    for evaluator in (masks, pixels):
        for task, figures in expected[type(evaluator).__name__].items():
            assert evaluator.evaluate()[task] == pytest.approx(figures, abs=1e-10)


@pytest.fixture
def street(tmp_path):
    """Write instance ids of one frame, 40 × 60, in Cityscapes' layout; return the metadata."""

    def write(*areas, frame="bonn_000000_000001"):
        ids = np.full((40, 60), ROAD, np.int32)
        for number, (top, left, bottom, right) in areas:
            ids[top:bottom, left:right] = number
        city = tmp_path / "gtFine" / "val" / frame.split("_")[0]
        city.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids.astype(np.uint16)).save(city / f"{frame}_gtFine_instanceIds.png")
        labels = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
        Image.fromarray(labels).save(city / f"{frame}_gtFine_labelIds.png")
        return Metadata(
            name="street",
            gt_dir=str(tmp_path / "gtFine" / "val"),
            thing_classes=THINGS,
            stuff_classes=classes(),
        )

    return write


PHOTOGRAPH = {"file_name": "leftImg8bit/val/bonn/bonn_000000_000001_leftImg8bit.png"}


def masks_of(*rows):
    """Instances from rows (class name, score, area)."""
    masks = torch.zeros(len(rows), 40, 60, dtype=torch.bool)
    for mask, (_, _, (top, left, bottom, right)) in zip(masks, rows, strict=True):
        mask[top:bottom, left:right] = True
    return Instances(
        (40, 60),
        pred_masks=masks,
        scores=torch.tensor([score for _, score, _ in rows]),
        pred_classes=torch.tensor([THINGS.index(name) for name, _, _ in rows], dtype=torch.int64),
    )


def instance_scores(metadata, *rows):
    evaluator = CityscapesInstanceEvaluator(metadata)
    evaluator.reset()
    evaluator.process([PHOTOGRAPH], [{"instances": masks_of(*rows)}])
    return evaluator.evaluate()["segm"]


ONE, OTHER = (0, 0, 20, 20), (0, 30, 20, 50)


def test_perfect_masks_reach_100(street):
    metadata = street((CAR * 1000 + 1, ONE), (PERSON * 1000 + 1, OTHER))
    scores = instance_scores(metadata, ("car", 0.9, ONE), ("person", 0.8, OTHER))
    assert scores == pytest.approx({"AP": 100, "AP50": 100})


def test_a_wrong_mask_costs_nothing_only_behind_all_right_ones(street):
    metadata = street((CAR * 1000 + 1, ONE))
    right, wrong = ("car", 0.5, ONE), (20, 30, 40, 50)
    assert instance_scores(metadata, right, ("car", 0.1, wrong))["AP"] == pytest.approx(100)
    # precision 1/2 at recall 1, 0 at recall 0: the trapezoid between them
    assert instance_scores(metadata, right, ("car", 0.9, wrong))["AP"] == pytest.approx(25)


def test_an_object_found_twice_counts_once(street):
    metadata = street((CAR * 1000 + 1, ONE), (CAR * 1000 + 2, OTHER))
    twice = [("car", 0.9, ONE), ("car", 0.8, ONE), ("car", 0.7, OTHER)]
    assert instance_scores(metadata, *twice)["AP50"] < 99


@pytest.mark.parametrize("number", [CAR, 4, CARAVAN])
def test_masks_on_groups_and_on_what_is_not_evaluated_are_not_wrong(street, number):
    metadata = street((CAR * 1000 + 1, ONE), (number, OTHER))
    scores = instance_scores(metadata, ("car", 0.5, ONE), ("car", 0.9, OTHER))
    assert scores["AP"] == pytest.approx(100)


def test_objects_of_less_than_100_pixels_need_not_be_found(street):
    small = (25, 30, 34, 41)  # 99 pixels
    metadata = street((CAR * 1000 + 1, ONE), (CAR * 1000 + 2, small))
    assert instance_scores(metadata, ("car", 0.5, ONE))["AP"] == pytest.approx(100)
    both = instance_scores(metadata, ("car", 0.5, ONE), ("car", 0.9, small))
    assert both["AP"] == pytest.approx(100)


def test_without_objects_there_is_no_figure_and_without_predictions_zero(street):
    assert math.isnan(instance_scores(street())["AP"])
    assert instance_scores(street((CAR * 1000 + 1, ONE)))["AP"] == 0


def test_only_ignored_predictions_are_zero(street):
    metadata = street((CAR * 1000 + 1, ONE), (CAR, OTHER))
    assert instance_scores(metadata, ("car", 0.9, OTHER))["AP"] == 0


# Pixels


def pixel_evaluation(metadata, *areas, output=None):
    """Predict road, but for some areas (class name, area)."""
    labels = torch.zeros(40, 60, dtype=torch.int64)
    for name, (top, left, bottom, right) in areas:
        labels[top:bottom, left:right] = classes().index(name)
    evaluator = CityscapesSemSegEvaluator(metadata)
    evaluator.reset()
    evaluator.process([PHOTOGRAPH], [{"sem_seg": labels} if output is None else output])
    return evaluator, evaluator.evaluate()["sem_seg"]


def test_perfect_pixels_reach_100(street):
    metadata = street((CAR * 1000 + 1, ONE), (RIDER * 1000 + 1, OTHER))
    evaluator, scores = pixel_evaluation(metadata, ("car", ONE), ("rider", OTHER))
    assert scores == pytest.approx({"IoU": 100, "iIoU": 100, "IoU_sup": 100, "iIoU_sup": 100})
    assert evaluator.iou_per_class["car"] == pytest.approx(100)
    assert math.isnan(evaluator.iou_per_class["train"])


def test_small_objects_weigh_as_much_as_large_ones_in_iiou(street):
    large, small = (0, 0, 20, 40), (30, 0, 35, 10)  # 800 and 50 pixels
    metadata = street((CAR * 1000 + 1, large), (CAR * 1000 + 2, small))
    evaluator, scores = pixel_evaluation(metadata, ("car", large))
    assert evaluator.iou_per_class["car"] == pytest.approx(100 * 800 / 850)
    assert scores["iIoU"] == pytest.approx(50)


def test_another_class_of_the_group_is_right_for_the_group(street):
    metadata = street((PERSON * 1000 + 1, ONE))
    _, scores = pixel_evaluation(metadata, ("rider", ONE))
    assert scores["iIoU"] == 0
    assert scores["iIoU_sup"] == scores["IoU_sup"] == pytest.approx(100)
    assert scores["IoU"] == pytest.approx(100 / 3)  # road 100, person 0, rider 0


def test_pixels_that_are_not_evaluated_are_never_wrong(street):
    _, scores = pixel_evaluation(street((4, ONE)), ("car", ONE))
    # a car that is only predicted there is neither hit nor error
    assert scores["IoU"] == pytest.approx(100)
    assert math.isnan(scores["iIoU"])


@pytest.mark.parametrize("wrapped", [True, False])
def test_scores_and_classes_say_the_same(street, wrapped):
    metadata = street((CAR * 1000 + 1, ONE))
    labels = torch.zeros(40, 60, dtype=torch.int64)
    labels[5:25, :20] = classes().index("car")
    scores = torch.nn.functional.one_hot(labels, 19).permute(2, 0, 1).float()
    found = [
        pixel_evaluation(metadata, output={"sem_seg": one} if wrapped else one)[1]
        for one in (labels, labels.to(torch.uint8), scores)
    ]
    assert found[0] == found[1] == found[2]


# Several processes


FRAMES = ("bonn_000000_000001", "ulm_000000_000002")


def evaluate_in_process(rank, folder, values):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    metadata = Metadata(**values)
    masks, pixels = CityscapesInstanceEvaluator(metadata), CityscapesSemSegEvaluator(metadata)
    record = {"file_name": f"{FRAMES[rank]}_leftImg8bit.png"}
    labels = torch.full((40, 60), classes().index("car"))
    results = []
    for evaluator, output in (
        (masks, {"instances": masks_of(("car", 0.5 + rank / 4, ONE))}),
        (pixels, {"sem_seg": labels}),
    ):
        evaluator.reset()
        evaluator.process([record], [output])
        results.append(evaluator.evaluate())
    torch.save(results, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_ranks_share_the_frames(street, tmp_path):
    street((CAR * 1000 + 1, ONE), frame=FRAMES[0])
    metadata = street((CAR * 1000 + 1, OTHER), frame=FRAMES[1])
    mp.spawn(evaluate_in_process, (str(tmp_path), metadata.as_dict()), nprocs=2)
    masks, pixels = torch.load(tmp_path / "0.pth", weights_only=True)
    # the better mask finds nothing, the other one of two objects
    assert masks["segm"]["AP"] == pytest.approx(100 * 0.5 * 0.25)
    assert pixels["sem_seg"]["iIoU"] > 0
    assert torch.load(tmp_path / "1.pth", weights_only=True) == [{}, {}]


# Bad input


def test_a_photograph_without_annotation_is_named(street):
    evaluator = CityscapesInstanceEvaluator(street())
    evaluator.reset()
    with pytest.raises(ValueError, match=r"ulm_0_1_gt\*_instanceIds.png .*'ulm_0_1_leftImg8bit"):
        evaluator.process([{"file_name": "ulm_0_1_leftImg8bit.png"}], [{"instances": masks_of()}])


def test_frames_that_were_not_processed_are_named(street):
    street(frame="ulm_000000_000002")
    with pytest.raises(ValueError, match=r"1 of 2 annotated frames .*\['ulm_000000_000002'\]"):
        instance_scores(street())


def test_a_folder_without_annotations_is_named(tmp_path):
    metadata = Metadata(name="street", gt_dir=str(tmp_path / "nowhere"), thing_classes=THINGS)
    evaluator = CityscapesInstanceEvaluator(metadata)
    evaluator.reset()
    with pytest.raises(FileNotFoundError, match=r"nowhere/\{city\}/\*_instanceIds.png"):
        evaluator.process([PHOTOGRAPH], [{"instances": masks_of()}])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"thing_classes": THINGS}, "'street' has no 'gt_dir'"),
        ({"gt_dir": "val"}, "'street' has no 'thing_classes'"),
        ({"gt_dir": "val", "thing_classes": ["tram"]}, "class 'tram' in 'thing_classes'.*label"),
    ],
)
def test_metadata_that_lacks_something_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        CityscapesInstanceEvaluator(Metadata(name="street", **values))


def test_predictions_of_another_size_or_class_are_named(street):
    evaluator = CityscapesInstanceEvaluator(street((CAR * 1000 + 1, ONE)))
    evaluator.reset()
    instances = masks_of(("car", 0.9, ONE))
    instances.pred_classes += 6
    with pytest.raises(ValueError, match=r"has class 8, but 'street' has 8 classes"):
        evaluator.process([PHOTOGRAPH], [{"instances": instances}])
    small = Instances(
        (20, 30),
        pred_masks=torch.ones(1, 20, 30, dtype=torch.bool),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([0]),
    )
    with pytest.raises(ValueError, match="instanceIds.png does not fit .* 20x30 .* of 40x60"):
        evaluator.process([PHOTOGRAPH], [{"instances": small}])
    with pytest.raises(ValueError, match="labelIds.png does not fit"):
        pixel_evaluation(street(), output={"sem_seg": torch.zeros(20, 30, dtype=torch.int64)})


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({}, "has no 'sem_seg'"),
        ({"sem_seg": torch.zeros(3, 40, 60)}, "scores of 3 classes, the dataset has 19"),
        ({"sem_seg": torch.zeros(40, 60)}, r"shape \(40, 60\) and the type torch.float32"),
        ({"sem_seg": torch.full((40, 60), 19)}, "has the class 19, outside 0 … 18"),
    ],
)
def test_semantic_outputs_that_cannot_be_are_named(street, output, message):
    with pytest.raises(ValueError, match=message):
        pixel_evaluation(street(), output=output)


def test_outputs_without_instances_are_named(street):
    evaluator = CityscapesInstanceEvaluator(street())
    evaluator.reset()
    with pytest.raises(ValueError, match=r"has no 'instances'; it has \['sem_seg'\]"):
        evaluator.process([PHOTOGRAPH], [{"sem_seg": None}])
