"""Which existing keys a wrong one is answered with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2_config.key_paths import closest_paths, join

KNOWN = [
    "SOLVER",
    "SOLVER.BASE_LR",
    "SOLVER.BASE_LR_END",
    "SOLVER.MAX_ITER",
    "MODEL",
    "MODEL.ROI_HEADS",
    "MODEL.ROI_HEADS.NUM_CLASSES",
    "MODEL.RETINANET",
    "MODEL.RETINANET.NUM_CLASSES",
    "MODEL.STAGES[0].DEPTH",
    "MODEL.STAGES[1].WIDTH",
    "INPUT.MAX_SIZE",
]


@pytest.mark.parametrize(
    ("wrong", "closest"),
    [
        ("solver.base_lr", ["SOLVER.BASE_LR"]),
        ("Solver", ["SOLVER"]),
        ("SOLVER.MAX_ITR", ["SOLVER.MAX_ITER"]),
        ("SOLVR.MAX_ITER", ["SOLVER.MAX_ITER"]),
        ("slover.max_iter", ["SOLVER.MAX_ITER"]),
        ("SOLVR.MAX_ITR", ["SOLVER.MAX_ITER"]),
        ("MAX_ITER", ["SOLVER.MAX_ITER"]),
        ("LR", ["SOLVER.BASE_LR", "SOLVER.BASE_LR_END"]),
        ("SOLVER.LR", ["SOLVER.BASE_LR", "SOLVER.BASE_LR_END"]),
        (
            "MODEL.ROI_HEAD.NUM_CLASSES",
            ["MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.RETINANET.NUM_CLASSES"],
        ),
        ("MODEL.STAGES.0.depth", ["MODEL.STAGES[0].DEPTH"]),
        ("MODEL.STAGES[1].WIDHT", ["MODEL.STAGES[1].WIDTH"]),
    ],
)
def test_the_closest_keys_are_named_whole(wrong: str, closest: list[str]) -> None:
    assert closest_paths(wrong, KNOWN) == f" Did you mean {' or '.join(closest)}?"


@pytest.mark.parametrize("wrong", ["FOO.BAR", "SOLVER.QUUX", "", "."])
def test_nothing_is_named_where_nothing_is_close(wrong: str) -> None:
    assert closest_paths(wrong, KNOWN) == ""


def test_no_more_than_three_are_named() -> None:
    known = [f"a{index}.lr" for index in range(9)]
    assert closest_paths("a.lr", known).count("lr") == 3


@given(st.sampled_from(KNOWN), st.data())
def test_a_key_with_one_letter_left_out_is_among_the_answers(
    path: str, data: st.DataObject
) -> None:
    letters = [i for i in range(1, len(path)) if path[i].isalpha() and path[i - 1].isalpha()]
    position = data.draw(st.sampled_from(letters))
    wrong = path[:position] + path[position + 1 :]
    assert path in closest_paths(wrong, KNOWN).rstrip("?").split(" ")


@pytest.mark.parametrize(
    ("path", "key", "joined"),
    [("", "a", "a"), ("a", "b", "a.b"), ("a", 0, "a[0]"), ("a[0]", "b", "a[0].b")],
)
def test_paths_are_joined_by_dots_and_indices_stand_in_brackets(
    path: str, key: str | int, joined: str
) -> None:
    assert join(path, key) == joined
