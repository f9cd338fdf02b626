import sys
import types

import numpy as np
import pytest

import d2_data.builtin_datasets
import d2_data.catalog
from d2_data import DatasetCatalog, Metadata, MetadataCatalog


@pytest.fixture
def name(request):
    unique = f"test_{request.node.name}"
    yield unique
    for catalog in (DatasetCatalog, MetadataCatalog):
        if unique in catalog.data:
            catalog.remove(unique)


def test_get_calls_the_registered_function_each_time(name):
    calls = []
    DatasetCatalog.register(name, lambda: calls.append(1) or [{"image_id": 1}])
    assert calls == []
    assert DatasetCatalog.get(name) == [{"image_id": 1}]
    DatasetCatalog.get(name)
    assert len(calls) == 2


def test_an_error_of_the_registered_function_names_the_dataset(name):
    def load():
        raise ValueError("annotation file 'a.json' is empty")

    DatasetCatalog.register(name, load)
    with pytest.raises(ValueError, match=rf"^dataset '{name}': annotation file 'a"):
        DatasetCatalog.get(name)


def test_an_error_that_names_the_dataset_already_stays_as_it_is(name):
    def load():
        raise FileNotFoundError(f"files of {name!r} are absent")

    DatasetCatalog.register(name, load)
    with pytest.raises(FileNotFoundError, match=f"^files of '{name}' are absent$"):
        DatasetCatalog.get(name)


def test_a_name_is_registered_once(name):
    DatasetCatalog.register(name, list)
    with pytest.raises(ValueError, match=rf"'{name}' is registered already.*remove"):
        DatasetCatalog.register(name, list)


def test_removed_name_can_be_registered_again(name):
    DatasetCatalog.register(name, list)
    DatasetCatalog.remove(name)
    DatasetCatalog.register(name, list)
    assert name in DatasetCatalog
    assert name in DatasetCatalog.list()


def test_register_refuses_samples_in_place_of_a_function(name):
    with pytest.raises(TypeError, match="function that returns the samples, got list"):
        DatasetCatalog.register(name, [])


def test_unknown_dataset_error_names_close_matches(name):
    DatasetCatalog.register(name, list)
    with pytest.raises(KeyError, match=name):
        DatasetCatalog.get(name + "x")


def test_unknown_dataset_error_lists_all_names_when_none_is_close():
    with pytest.raises(KeyError, match=r"known names: .*shapes_train"):
        DatasetCatalog.get("zzzzzzzzzzzzzzzzzzz")


def test_removing_what_is_not_there_names_it():
    with pytest.raises(KeyError, match="no_such_name"):
        DatasetCatalog.remove("no_such_name")
    with pytest.raises(KeyError, match="no_such_name"):
        MetadataCatalog.remove("no_such_name")


def test_metadata_is_one_object_per_name(name):
    first = MetadataCatalog.get(name)
    first.thing_classes = ["person"]
    assert MetadataCatalog.get(name) is first
    assert MetadataCatalog[name].thing_classes == ["person"]
    assert MetadataCatalog.get(name).name == name
    assert name in MetadataCatalog.list()


def test_subscript_does_not_invent_metadata():
    with pytest.raises(KeyError, match="no_such_name"):
        MetadataCatalog["no_such_name"]


@pytest.mark.parametrize("bad", ["", None, 3])
def test_metadata_wants_a_name(bad):
    with pytest.raises(TypeError, match="non-empty string"):
        MetadataCatalog.get(bad)


def test_metadata_attribute_is_set_once():
    metadata = Metadata(name="m")
    metadata.thing_classes = ["a", "b"]
    metadata.thing_classes = ["a", "b"]
    with pytest.raises(ValueError, match=r"'thing_classes' of dataset 'm'.*\['a', 'b'\].*\['c'\]"):
        metadata.thing_classes = ["c"]


def test_metadata_decides_equality_of_arrays():
    metadata = Metadata(name="m")
    metadata.colours = np.arange(3)
    metadata.colours = np.arange(3)
    with pytest.raises(ValueError, match="colours"):
        metadata.colours = np.arange(4)
    with pytest.raises(ValueError, match="colours"):
        metadata.colours = np.zeros(3, int)


def test_missing_metadata_error_names_close_matches():
    metadata = Metadata(name="m", thing_classes=[])
    with pytest.raises(AttributeError, match=r"'m' has no 'thing_class'.*thing_classes"):
        _ = metadata.thing_class
    assert not hasattr(metadata, "zzz")


def test_metadata_get_set_and_dict():
    metadata = Metadata(name="m").set(a=1, b=2)
    assert metadata.get("a") == 1
    assert metadata.get("c") is None
    assert metadata.get("c", 5) == 5
    copied = metadata.as_dict()
    assert copied == {"name": "m", "a": 1, "b": 2}
    copied["a"] = 9
    assert metadata.a == 1


def test_catalogs_print_their_names(name):
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name)
    assert name in repr(DatasetCatalog)
    assert name in str(MetadataCatalog)


def test_metadata_of_an_unknown_name_may_be_filled_before_the_dataset_is_registered(name):
    MetadataCatalog.get(name).thing_classes = ["a"]
    DatasetCatalog.register(name, list)
    assert MetadataCatalog.get(name).thing_classes == ["a"]


def test_a_mistyped_name_does_not_look_registered(name):
    MetadataCatalog.get(name)
    assert name not in MetadataCatalog
    assert name not in MetadataCatalog.list()
    assert len(MetadataCatalog) == len(MetadataCatalog.list())
    with pytest.raises(KeyError, match=name):
        MetadataCatalog[name]


def test_metadata_is_listed_once_something_was_set(name):
    metadata = MetadataCatalog.get(name)
    metadata.thing_classes = ["a"]
    assert name in MetadataCatalog
    assert name in MetadataCatalog.list()
    assert MetadataCatalog[name] is metadata


def test_metadata_of_a_registered_dataset_is_listed_though_empty(name):
    MetadataCatalog.get(name)
    DatasetCatalog.register(name, list)
    assert name in MetadataCatalog.list()
    with pytest.raises(AttributeError, match=r"has no 'thing_classes'; it has: \['name'\]"):
        _ = MetadataCatalog.get(name).thing_classes


def test_reading_metadata_of_a_mistyped_name_names_close_matches_of_both_catalogs(name):
    DatasetCatalog.register(name + "_dataset", list)
    MetadataCatalog.get(name + "_metadata").thing_classes = ["a"]
    try:
        with pytest.raises(AttributeError, match=r"no dataset '.*' is registered") as caught:
            _ = MetadataCatalog.get(name).thing_classes
        assert name + "_dataset" in str(caught.value)
        assert name + "_metadata" in str(caught.value)
        assert "'thing_classes'" in str(caught.value)
    finally:
        DatasetCatalog.remove(name + "_dataset")
        MetadataCatalog.remove(name + "_metadata")


def test_a_mistyped_builtin_name_is_recognised():
    with pytest.raises(AttributeError, match=r"did you mean 'coco_2017_train'"):
        _ = MetadataCatalog.get("coco_2017_trian").thing_classes
    with pytest.raises(KeyError, match=r"did you mean 'coco_2017_train'"):
        DatasetCatalog.get("coco_2017_trian")


def test_optional_metadata_of_a_mistyped_name_has_its_default(name):
    metadata = MetadataCatalog.get(name)
    assert metadata.get("thing_classes") is None
    assert getattr(metadata, "thing_classes", 3) == 3


@pytest.fixture
def builtin(monkeypatch):
    """Makes ``b_train`` and ``b_val`` the built-in names; ``calls`` holds the names registered."""
    module = types.ModuleType("a_registrar_module")
    module.calls = []

    def register(name):
        module.calls.append(name)
        DatasetCatalog.register(name, lambda: [{"image_id": 0}])
        MetadataCatalog.get(name).set(thing_classes=["x"])

    module.register = register
    monkeypatch.setitem(sys.modules, module.__name__, module)
    table = dict.fromkeys(("b_train", "b_val"), "a_registrar_module:register")
    monkeypatch.setattr(d2_data.builtin_datasets, "builtin_names", lambda: table)
    monkeypatch.setattr(d2_data.catalog, "builtin_names", lambda: table)
    yield module
    for name in table:
        DatasetCatalog.data.pop(name, None)
        MetadataCatalog.data.pop(name, None)
        d2_data.catalog._on_demand._removed.discard(name)


def test_builtin_is_listed_without_being_registered(builtin):
    for catalog in (DatasetCatalog, MetadataCatalog):
        assert {"b_train", "b_val"} <= set(catalog.list())
        assert "b_train" in catalog
    assert builtin.calls == []


def test_builtin_is_registered_once_when_first_asked_for(builtin):
    assert DatasetCatalog.get("b_val") == [{"image_id": 0}]
    assert DatasetCatalog.get("b_val") == [{"image_id": 0}]
    assert MetadataCatalog.get("b_val").thing_classes == ["x"]
    assert builtin.calls == ["b_val"]
    for catalog in (DatasetCatalog, MetadataCatalog):
        assert catalog.list().count("b_val") == 1


def test_other_builtins_are_left_alone(builtin):
    DatasetCatalog.get("b_val")
    assert "b_train" not in DatasetCatalog.data


@pytest.mark.parametrize("ask", [MetadataCatalog.get, MetadataCatalog.__getitem__])
def test_builtin_metadata_can_be_asked_for_first(builtin, ask):
    assert ask("b_train").thing_classes == ["x"]
    assert "b_train" in DatasetCatalog.data


def test_failed_registrar_is_tried_again(builtin, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(builtin, "register", lambda name: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            DatasetCatalog.get("b_train")
    assert DatasetCatalog.get("b_train") == [{"image_id": 0}]


def test_builtin_name_cannot_be_taken(builtin):
    with pytest.raises(ValueError, match="'b_train' is known without registration; choose another"):
        DatasetCatalog.register("b_train", list)


@pytest.mark.parametrize("asked_before", [False, True])
def test_removed_builtin_leaves_its_name_to_others(builtin, asked_before):
    if asked_before:
        DatasetCatalog.get("b_train")
    DatasetCatalog.remove("b_train")
    assert "b_train" not in DatasetCatalog
    with pytest.raises(KeyError, match="b_train"):
        DatasetCatalog.get("b_train")
    DatasetCatalog.register("b_train", lambda: [{"image_id": 7}])
    assert DatasetCatalog.get("b_train") == [{"image_id": 7}]


@pytest.mark.parametrize("asked_before", [False, True])
def test_removed_builtin_metadata_is_empty_when_asked_for_again(builtin, asked_before):
    if asked_before:
        MetadataCatalog.get("b_train")
    MetadataCatalog.remove("b_train")
    assert MetadataCatalog.get("b_train").as_dict() == {"name": "b_train"}
