"""Classes of the model, the training data and the test data."""

import pytest
from omegaconf import OmegaConf

from d2_data import Metadata
from d2_engine.dataset_classes import (
    check_num_classes_known,
    check_same_classes,
    metadata_of,
    settle_num_classes,
)


def data(*classes: str, name: str = "pets") -> Metadata:
    return Metadata(name=name).set(thing_classes=list(classes))


def model(num_classes: int | None):
    return OmegaConf.create({"model": {"roi_heads": {"num_classes": num_classes}}})


def test_null_becomes_the_number_of_the_data():
    cfg = model(None)
    settle_num_classes(cfg, data("cat", "dog"))
    assert cfg.model.roi_heads.num_classes == 2


def test_the_right_number_stays():
    cfg = model(2)
    settle_num_classes(cfg, data("cat", "dog"))
    assert cfg.model.roi_heads.num_classes == 2


def test_another_number_names_both_and_the_remedy():
    with pytest.raises(ValueError, match=r"is 80, but the data 'pets' has 2 classes \(cat, dog\)"):
        settle_num_classes(model(80), data("cat", "dog"))
    with pytest.raises(ValueError, match=r"c0, .*c9, …\): set .*num_classes=30"):
        settle_num_classes(model(80), data(*(f"c{i}" for i in range(30))))


def test_data_without_classes_and_models_without_regions_are_left_alone():
    cfg = model(None)
    settle_num_classes(cfg, Metadata(name="unlabelled"))
    assert cfg.model.roi_heads.num_classes is None
    settle_num_classes(OmegaConf.create({"model": {"head": {}}}), data("cat"))


def test_a_number_has_to_be_known_to_predict():
    check_num_classes_known(model(3))
    check_num_classes_known(OmegaConf.create({"model": {}}))
    with pytest.raises(ValueError, match="num_classes is null"):
        check_num_classes_known(model(None))


def test_the_order_of_classes_matters():
    check_same_classes(data("cat", "dog"), data("cat", "dog"))
    with pytest.raises(ValueError, match=r"'b' has the classes dog, cat, .*'a' has cat, dog"):
        check_same_classes(data("cat", "dog", name="a"), data("dog", "cat", name="b"))


def test_data_that_declares_no_classes_fits_any():
    check_same_classes(data("cat"), Metadata(name="unlabelled"))
    check_same_classes(Metadata(name="unlabelled"), data("cat"))


def test_metadata_are_those_of_the_first_dataset():
    for names in ("some-data", ["some-data", "other-data"]):
        loader = OmegaConf.create({"dataset": {"names": names}})
        assert metadata_of(loader).name == "some-data"


def test_a_loader_without_names_has_empty_metadata():
    assert metadata_of(OmegaConf.create({})).get("thing_classes") is None
