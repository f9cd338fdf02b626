from hypothesis import given
from hypothesis import strategies as st

from d2_eval.report.class_colors import _PALETTE, class_colors


def test_the_most_frequent_class_gets_the_first_colour():
    assert class_colors([{3}, {3, 7}, {7, 3}])[3] == _PALETTE[0]


@given(st.lists(st.sets(st.integers(0, 40), max_size=6), max_size=20))
def test_every_class_has_a_colour_of_the_palette(pictures):
    colors = class_colors(pictures)
    assert colors.keys() == set().union(*pictures)
    assert set(colors.values()) <= set(_PALETTE)


@given(st.sets(st.integers(0, 200), max_size=len(_PALETTE)))
def test_as_many_classes_as_there_are_colours_never_share_one(classes):
    assert len(set(class_colors([{label} for label in classes]).values())) == len(classes)


def test_more_classes_share_colours_with_those_of_other_pictures():
    pictures = [set(range(start, start + 6)) for start in range(0, 60, 6)]
    colors = class_colors(pictures)
    for classes in pictures:
        assert len({colors[label] for label in classes}) == 6
