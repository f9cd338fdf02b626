import pytest

from d2_data.mapped_dataset import MapDataset


def test_elements_are_mapped_on_access():
    dataset = MapDataset([1, 2, 3], lambda element: element * 10)
    assert len(dataset) == 3
    assert [dataset[i] for i in range(3)] == [10, 20, 30]


def test_refused_element_is_replaced_with_a_warning_that_names_it(caplog):
    dataset = MapDataset(range(10), lambda element: element if element % 2 else None)
    replaced = dataset[4]
    assert replaced % 2 == 1
    assert "returned None for element 4" in caplog.text


def test_replacement_depends_on_the_index_alone():
    dataset = MapDataset(range(50), lambda element: element if element % 5 == 0 else None)
    first = [dataset[i] for i in range(50)]
    assert [dataset[i] for i in reversed(range(50))] == first[::-1]


def test_errors_of_the_function_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        MapDataset([0], lambda element: 1 / element)[0]


def test_function_that_refuses_everything_is_stopped():
    with pytest.raises(RuntimeError, match=r"None for 100 elements in turn, from index 1 on"):
        MapDataset([0, 1], lambda element: None)[1]


def test_map_wants_a_function():
    with pytest.raises(TypeError, match="wants a function"):
        MapDataset([], 3)
