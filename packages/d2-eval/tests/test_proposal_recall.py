import json
import math

import pytest
import torch

from d2_eval import CocoGroundTruth
from d2_eval.proposal_recall import ImageProposals, proposal_recall


@pytest.fixture
def truth(tmp_path, coco_content):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_content))
    return CocoGroundTruth.load(path)


def proposals(image_id: int, *boxes: tuple[float, ...]) -> ImageProposals:
    table = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return ImageProposals(image_id, table, torch.linspace(1, 0, len(table)))


ALL = (
    proposals(1, (10, 10, 30, 30), (50, 20, 90, 60)),
    proposals(2, (30, 30, 70, 70)),
)


def test_exact_proposals_reach_100(truth):
    recalls = proposal_recall(truth, ALL)
    assert recalls["AR@100"] == recalls["AR@1000"] == pytest.approx(100)
    assert recalls["ARs@100"] == recalls["ARm@100"] == pytest.approx(100)
    assert math.isnan(recalls["ARl@100"])


def test_recall_counts_the_thresholds_that_are_reached(truth):
    # 20 × 20 against 20 × 16: IoU 0.8, which reaches 0.5, 0.55, …, 0.8 (or just not the last).
    recalls = proposal_recall(truth, [proposals(1, (10, 10, 30, 26.2))], limits=[100])
    assert recalls["ARs@100"] == pytest.approx(70)


def test_one_proposal_covers_one_object_only(tmp_path, coco_content):
    coco_content["annotations"][1] = {**coco_content["annotations"][0], "id": 2}
    path = tmp_path / "twins.json"
    path.write_text(json.dumps(coco_content))
    recalls = proposal_recall(
        CocoGroundTruth.load(path), [proposals(1, (10, 10, 30, 30))], limits=[100]
    )
    assert recalls["AR@100"] == pytest.approx(50)


def test_only_the_best_proposals_up_to_the_limit_count(truth):
    image = proposals(1, (0, 0, 1, 1), (10, 10, 30, 30))
    recalls = proposal_recall(truth, [image], limits=[1, 2])
    assert recalls["ARs@1"] == 0
    assert recalls["ARs@2"] == pytest.approx(100)


def test_crowds_do_not_count(tmp_path, coco_content):
    for annotation in coco_content["annotations"]:
        annotation["iscrowd"] = 1
    path = tmp_path / "crowds.json"
    path.write_text(json.dumps(coco_content))
    recalls = proposal_recall(CocoGroundTruth.load(path), ALL)
    assert all(math.isnan(recall) for recall in recalls.values())


def test_no_proposals_recall_nothing(truth):
    assert proposal_recall(truth, [proposals(1), proposals(2)])["AR@100"] == 0
    assert math.isnan(proposal_recall(truth, [])["AR@100"])
