"""Identities that stay with objects from frame to frame."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from d2_config import CfgNode
from d2_engine.compat.tracking import (
    BBoxIOUTracker,
    IOUWeightedHungarianBBoxIOUTracker,
    VanillaHungarianBBoxIOUTracker,
    build_tracker_head,
)
from d2_engine.compat.tracking.assignment import cheapest_assignment
from d2_structures import Boxes, Instances

KINDS = [BBoxIOUTracker, IOUWeightedHungarianBBoxIOUTracker, VanillaHungarianBBoxIOUTracker]


def frame(*boxes: tuple[float, float]) -> Instances:
    """Squares of 20 pixels at these corners."""
    corners = torch.tensor(boxes, dtype=torch.float32).view(-1, 2)
    found = Instances((100, 100), pred_boxes=Boxes(torch.cat([corners, corners + 20], dim=1)))
    found.scores = torch.ones(len(boxes))
    return found


def tracker(kind, **options):
    return kind(video_height=100, video_width=100, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_that_move_a_little_keep_their_identity(kind):
    tracking = tracker(kind)
    assert tracking.update(frame((0, 0), (50, 50))).ID == [0, 1]
    moved = tracking.update(frame((52, 51), (1, 2), (75, 0)))
    assert moved.ID == [1, 0, 2]
    assert moved.ID_period == [2, 2, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_object_is_remembered_as_long_as_asked_for(kind):
    tracking = tracker(kind, max_lost_frame_count=2, min_instance_period=0)
    tracking.update(frame((0, 0), (50, 50)))
    assert tracking.update(frame((0, 0))).lost_frame_count == [0, 1]
    assert tracking.update(frame((0, 0))).ID == [0, 1]
    assert tracking.update(frame((0, 0))).ID == [0]
    assert tracking.update(frame((0, 0), (50, 50))).ID == [0, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_comes_back_in_time_is_the_same(kind):
    tracking = tracker(kind, max_lost_frame_count=2, min_instance_period=0)
    tracking.update(frame((0, 0), (50, 50)))
    tracking.update(frame((0, 0)))
    back = tracking.update(frame((0, 0), (51, 50)))
    assert back.ID == [0, 1]
    assert back.lost_frame_count == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_without_objects_are_nothing_special(kind):
    tracking = tracker(kind)
    assert len(tracking.update(frame())) == 0
    assert tracking.update(frame((0, 0))).ID == [0]
    assert len(tracking.update(frame())) == 0


def test_small_and_young_objects_are_forgotten_at_once():
    options = {"max_lost_frame_count": 5, "min_instance_period": 0}
    small = tracker(BBoxIOUTracker, min_box_rel_dim=0.5, **options)
    small.update(frame((0, 0)))
    assert len(small.update(frame())) == 0
    young = tracker(BBoxIOUTracker, **{**options, "min_instance_period": 1})
    young.update(frame((0, 0)))
    assert len(young.update(frame())) == 0


def test_a_tracker_is_named_by_a_config():
    options = {"TRACKER_NAME": "BBoxIOUTracker", "VIDEO_HEIGHT": 10, "VIDEO_WIDTH": 20}
    cfg = CfgNode({"TRACKER_HEADS": {**options, "MAX_LOST_FRAME_COUNT": 3}})
    built = build_tracker_head(cfg)
    assert isinstance(built, BBoxIOUTracker)
    assert built._max_lost_frame_count == 3


MATRICES = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(-20, 20).map(float))
)


@given(MATRICES)
def test_no_other_assignment_is_cheaper(costs):
    pairs = cheapest_assignment(costs)
    rows, columns = zip(*pairs, strict=True)
    assert len(set(rows)) == len(set(columns)) == len(pairs) == min(costs.shape)
    found = sum(costs[pair] for pair in pairs)
    wide = costs if costs.shape[0] <= costs.shape[1] else costs.T
    choices = itertools.permutations(range(wide.shape[1]), wide.shape[0])
    assert found == min(sum(wide[row, column] for row, column in enumerate(c)) for c in choices)
