"""Classes of the model, the training data and the test data."""

import logging

import pytest

from d2_data import Metadata, MetadataCatalog
from d2_engine.run import Count, RunPlan, TrainData
from d2_engine.run.classes import (
    check_counts_known,
    check_enough_classes,
    check_same_classes,
    missing_counts,
)


def data(*classes: str, name: str = "pets") -> Metadata:
    return Metadata(name=name).set(thing_classes=list(classes))


def plan(value: int | None, train_data: TrainData | None = None) -> RunPlan:
    def unused(*arguments):
        raise AssertionError

    return RunPlan(
        settings=None,
        output_dir="",
        model=unused,
        optimizer=unused,
        schedule=unused,
        max_iter=1,
        train_data=train_data,
        counts=(Count(option="model.num_classes", value=value, field="thing_classes"),),
    )


def test_an_open_number_becomes_that_of_the_data():
    assert missing_counts(plan(None), data("cat", "dog")) == {"model.num_classes": 2}


def test_the_right_number_stays():
    assert missing_counts(plan(2), data("cat", "dog")) == {}


def test_another_number_names_both_and_the_remedy():
    with pytest.raises(ValueError, match=r"is 80, but the data 'pets' has 2 .*\(cat, dog\)"):
        missing_counts(plan(80), data("cat", "dog"))
    with pytest.raises(ValueError, match=r"c0, .*c9, …\): set model.num_classes=30"):
        missing_counts(plan(80), data(*(f"c{i}" for i in range(30))))


def test_data_without_classes_fits_any_number_that_is_given():
    assert missing_counts(plan(80), Metadata(name="unlabelled")) == {}
    with pytest.raises(ValueError, match="declares no thing_classes"):
        missing_counts(plan(None), Metadata(name="unlabelled"))


def test_a_number_has_to_be_known_to_predict():
    check_counts_known(plan(3).counts)
    check_counts_known(())
    with pytest.raises(ValueError, match="num_classes is None"):
        check_counts_known(plan(None).counts)


@pytest.mark.parametrize("field", ["thing_classes", "stuff_classes"])
def test_the_order_of_classes_matters(field):
    a, b = (Metadata(name=name).set(**{field: classes}) for name, classes in _ORDERS.items())
    check_same_classes(a, a)
    with pytest.raises(ValueError, match=r"'b' has the classes dog, cat, .*'a' has cat, dog"):
        check_same_classes(a, b)


_ORDERS = {"a": ["cat", "dog"], "b": ["dog", "cat"]}


def test_data_that_declares_no_classes_fits_any():
    check_same_classes(data("cat"), Metadata(name="unlabelled"))
    check_same_classes(Metadata(name="unlabelled"), data("cat"))


@pytest.fixture
def pets():
    """The training data of a script."""
    MetadataCatalog.get("run_classes_pets").thing_classes = ["cat", "dog"]
    yield TrainData(datasets=("run_classes_pets",), loader=list, batch_size=1)
    MetadataCatalog.remove("run_classes_pets")


def test_a_script_may_train_on_fewer_classes_than_its_model_has(pets, caplog):
    with caplog.at_level(logging.WARNING):
        check_enough_classes(plan(80, pets))
    assert "num_classes is 80" in caplog.text
    check_enough_classes(plan(2, pets))
    with pytest.raises(ValueError, match="num_classes is 1, but"):
        check_enough_classes(plan(1, pets))
