"""Event storage and history buffer."""

import math
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.events import EventStorage, active_event_storage, get_event_storage
from d2_modeling.history_buffer import HistoryBuffer


def test_the_innermost_active_storage_is_current() -> None:
    with EventStorage() as outer:
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer is active_event_storage()


def test_without_a_storage_asking_for_it_is_an_error_and_active_is_none() -> None:
    assert active_event_storage() is None
    with pytest.raises(AssertionError, match="with EventStorage"):
        get_event_storage()


def test_a_storage_is_left_even_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), EventStorage():
        _ = 1 / 0
    assert active_event_storage() is None


def test_scalars_carry_the_iteration_of_their_recording() -> None:
    with EventStorage(start_iter=7) as storage:
        storage.put_scalar("loss", 2.0)
        storage.step()
        storage.put_scalars(loss=1.0, accuracy=torch.tensor(0.5))
        storage.put_scalar("late", 3, cur_iter=100)
    assert storage.latest() == {"loss": (1.0, 8), "accuracy": (0.5, 8), "late": (3.0, 100)}
    assert storage.history("loss").values() == [(2.0, 7), (1.0, 8)]
    assert storage.iter == storage.iteration == 8


def test_a_scalar_that_requires_grad_is_detached() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    with EventStorage() as storage:
        storage.put_scalar("loss", weight * 1.5)  # torch warns where nothing detaches it
        storage.put_scalar("loss", weight.reshape(1, 1))
    assert storage.history("loss").values() == [(3.0, 0), (2.0, 0)]


def test_name_scope_prefixes_scalars_and_nests_by_replacement() -> None:
    storage = EventStorage()
    with storage.name_scope("val"):
        storage.put_scalar("loss", 1.0)
        with storage.name_scope("deep"):
            storage.put_scalar("loss", 2.0)
    storage.put_scalar("loss", 3.0)
    assert set(storage.latest()) == {"val/loss", "deep/loss", "loss"}


def test_a_series_cannot_change_its_smoothing_hint() -> None:
    storage = EventStorage()
    storage.put_scalar("lr", 0.1, smoothing_hint=False)
    with pytest.raises(ValueError, match="smoothing_hint=False before"):
        storage.put_scalar("lr", 0.1)
    assert storage.smoothing_hints() == {"lr": False}


def test_smoothed_values_are_medians_over_the_window_of_iterations() -> None:
    storage = EventStorage()
    for value in [100.0, 1.0, 5.0, 3.0]:
        storage.put_scalar("loss", value)
        storage.put_scalar("lr", value, smoothing_hint=False)
        storage.step()
    assert storage.latest_with_smoothing_hint(window_size=3) == {"loss": (3.0, 3), "lr": (3.0, 3)}
    assert storage.count_samples("loss", 3) == 3


def test_series_recorded_every_few_iterations_are_smoothed_over_iterations_not_samples() -> None:
    storage = EventStorage()
    for iteration in range(0, 100, 10):
        storage.put_scalar("rare", float(iteration), cur_iter=iteration)
    assert storage.latest_with_smoothing_hint(window_size=20)["rare"] == (85.0, 90)


def test_an_unknown_series_is_an_error_that_lists_the_known_ones() -> None:
    storage = EventStorage()
    storage.put_scalar("loss", 1.0)
    with pytest.raises(KeyError, match="loss"):
        storage.history("los")


def test_pictures_and_histograms_are_kept_until_cleared() -> None:
    storage = EventStorage(start_iter=3)
    storage.put_image("picture", torch.zeros(3, 2, 2))
    storage.put_histogram("weights", torch.tensor([0.0, 1.0, 1.0, 4.0]), bins=4)
    (name, _, iteration), (histogram,) = storage.images[0], storage.histograms
    assert (name, iteration) == ("picture", 3)
    assert histogram["bucket_counts"] == [1.0, 2.0, 0.0, 1.0]
    assert histogram["bucket_limits"] == [1.0, 2.0, 3.0, 4.0]
    assert (histogram["sum"], histogram["num"], histogram["global_step"]) == (6.0, 4, 3)
    storage.clear_images()
    storage.clear_histograms()
    assert storage.images == storage.histograms == ()


def test_leaving_blocks_in_another_order_is_an_error() -> None:
    outer, inner = EventStorage(), EventStorage()
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(RuntimeError, match="another order"):
        outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    outer.__exit__(None, None, None)


class OnAccelerator(torch.Tensor):
    """A tensor that claims to live on a device where reading a value means waiting."""

    device = torch.device("cuda")  # type: ignore[assignment]  # a stand-in for the property

    def tolist(self) -> list[float]:
        return self.as_subclass(torch.Tensor).tolist()


def on_accelerator(value: float) -> torch.Tensor:
    return torch.tensor(value).as_subclass(OnAccelerator)


def test_a_recorded_tensor_may_change_afterwards() -> None:
    storage = EventStorage()
    for name, value in (("host", torch.tensor(1.5)), ("device", on_accelerator(1.5))):
        storage.put_scalar(name, value)
        value.zero_()
        assert storage.latest()[name][0] == 1.5


def test_scalars_of_an_accelerator_are_fetched_only_when_read_and_stay_in_order() -> None:
    storage = EventStorage()
    storage.put_scalar("loss", on_accelerator(1.0))
    storage.put_scalar("count", on_accelerator(3))
    storage.put_scalar("other", 7.0)
    assert len(storage._pending) == 2
    storage.step()
    storage.put_scalar("loss", 2.0)
    assert storage._pending == []
    assert storage.history("loss").values() == [(1.0, 0), (2.0, 1)]
    assert storage.latest()["count"] == (3.0, 0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda storage: storage.histories()["loss"].values(),
        lambda storage: storage.history("loss").values(),
        lambda storage: storage.state_dict()["series"]["loss"]["values"].tolist(),
        lambda storage: storage.latest(),
        lambda storage: storage.latest_with_smoothing_hint(),
        lambda storage: storage.count_samples("loss"),
    ],
)
def test_whoever_reads_gets_the_scalars_of_an_accelerator(ask: Callable[..., object]) -> None:
    there, here = EventStorage(), EventStorage()
    there.put_scalar("loss", on_accelerator(2.0))
    here.put_scalar("loss", 2.0)
    assert ask(there) == ask(here)


def test_a_state_or_a_restored_value_comes_after_what_was_recorded_before() -> None:
    other = EventStorage()
    other.put_scalar("loss", 5.0, cur_iter=3)
    storage = EventStorage()
    storage.put_scalar("loss", on_accelerator(1.0))
    storage.load_state_dict(other.state_dict())
    assert storage.history("loss").values() == [(5.0, 3)]
    storage.put_scalar("loss", on_accelerator(2.0), cur_iter=4)
    storage.restore_scalar("loss", 3.0, 5)
    assert storage.latest() == {"loss": (3.0, 5)}


def test_scalars_of_an_accelerator_do_not_pile_up() -> None:
    storage = EventStorage()
    for iteration in range(1000):
        storage.put_scalar("loss", on_accelerator(float(iteration)), cur_iter=iteration)
    assert len(storage._pending) < 600
    assert len(storage.history("loss").values()) == 1000


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_history_summaries_equal_those_of_the_plain_list(values: list[float], window: int) -> None:
    buffer = HistoryBuffer()
    for value in values:
        buffer.update(value)
    newest = torch.tensor(values[-window:], dtype=torch.float64)
    assert buffer.latest() == values[-1]
    assert buffer.avg(window) == pytest.approx(newest.mean().item(), abs=1e-6)
    assert buffer.median(window) == pytest.approx(newest.quantile(0.5).item(), abs=1e-6)
    assert buffer.global_avg() == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert [iteration for _, iteration in buffer.values()] == list(range(len(values)))


def test_a_full_history_forgets_the_oldest_but_counts_it_in_the_global_average() -> None:
    buffer = HistoryBuffer(max_length=2)
    for value in (1.0, 2.0, 6.0):
        buffer.update(value)
    assert [value for value, _ in buffer.values()] == [2.0, 6.0]
    assert buffer.global_avg() == 3.0


entries = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(-1e6, 1e6, width=32), st.integers(0, 3)),
    max_size=40,
)


@given(entries, entries, st.integers(1, 30))
def test_a_storage_with_the_state_of_another_goes_on_as_that_would(before, after, window) -> None:
    def record(storage: EventStorage, values: list[tuple[str, float, int]]) -> None:
        for name, value, steps in values:
            storage.iter += steps
            storage.put_scalar(name, value, smoothing_hint=name != "a")

    one = EventStorage()
    record(one, before)
    other = EventStorage(one.iter)
    other.load_state_dict(one.state_dict())
    for storage in (one, other):
        record(storage, after)
    assert other.latest_with_smoothing_hint(window) == one.latest_with_smoothing_hint(window)
    for name in one.histories():
        assert other.count_samples(name, window) == one.count_samples(name, window)
        assert other.history(name).global_avg() == one.history(name).global_avg()


def test_a_restored_scalar_leaves_its_smoothing_to_who_records_it_next() -> None:
    storage = EventStorage(3)
    storage.restore_scalar("loss", 5.0, 2)
    assert storage.latest_with_smoothing_hint() == {"loss": (5.0, 2)}
    again = EventStorage(3)
    again.load_state_dict(storage.state_dict())
    again.put_scalar("loss", 1.0)
    assert again.latest_with_smoothing_hint() == {"loss": (3.0, 3)}


def test_a_state_keeps_the_newest_thousand_values_of_a_series_and_its_average() -> None:
    storage = EventStorage()
    for iteration in range(1500):
        storage.put_scalar("loss", iteration, cur_iter=iteration)
    state = storage.state_dict()["series"]["loss"]
    assert state["iterations"].tolist() == list(range(500, 1500))
    restored = EventStorage()
    restored.load_state_dict({"series": {"loss": state}})
    assert restored.history("loss").global_avg() == 749.5


# Scalars


def test_numbers_of_any_kind_are_recorded_as_floats() -> None:
    storage = EventStorage()
    values = {
        "int": 3,
        "bool": torch.tensor(True),
        "half": torch.tensor(0.5, dtype=torch.float16),
        "long": torch.tensor([[7]]),
        "array": np.float32(2.5),
    }
    storage.put_scalars(**values)
    assert {name: value for name, (value, _) in storage.latest().items()} == {
        "int": 3.0,
        "bool": 1.0,
        "half": 0.5,
        "long": 7.0,
        "array": 2.5,
    }
    assert all(type(value) is float for value, _ in storage.latest().values())


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 3)])
def test_a_tensor_of_several_elements_or_none_is_no_scalar(shape: tuple[int, ...]) -> None:
    """One of an accelerator would be noticed only when someone reads it."""
    storage = EventStorage()
    for value in (torch.zeros(shape), torch.zeros(shape).as_subclass(OnAccelerator)):
        with storage.name_scope("val"), pytest.raises(ValueError, match="scalar 'val/loss' has to"):
            storage.put_scalar("loss", value)
    assert storage.smoothing_hints() == {}


def test_values_that_are_no_numbers_are_kept_as_they_are() -> None:
    storage = EventStorage()
    storage.put_scalar("loss", float("nan"))
    storage.put_scalar("loss", float("inf"))
    assert math.isnan(storage.history("loss").values()[0][0])
    assert storage.latest()["loss"] == (float("inf"), 0)


def test_the_options_of_several_scalars_are_those_of_each() -> None:
    storage = EventStorage()
    storage.put_scalars(a=1.0, b=2.0, smoothing_hint=False, cur_iter=9)
    assert storage.smoothing_hints() == {"a": False, "b": False}
    assert storage.latest() == {"a": (1.0, 9), "b": (2.0, 9)}


def test_a_scope_may_end_in_a_slash_and_ends_when_its_block_fails() -> None:
    storage = EventStorage()

    def fail() -> None:
        with storage.name_scope("val/"):
            storage.put_scalar("loss", 1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    storage.put_scalar("loss", 2.0)
    assert set(storage.latest()) == {"val/loss", "loss"}


def test_the_iteration_may_be_set_and_is_a_whole_number() -> None:
    storage = EventStorage(5)
    storage.iter = torch.tensor(8)  # type: ignore[assignment]  # as a number
    storage.step()
    assert storage.iter == storage.iteration == 9
    assert type(storage.iter) is int


def test_what_is_given_out_cannot_change_what_is_kept() -> None:
    storage = EventStorage()
    storage.put_scalar("loss", 1.0)
    storage.latest()["loss"] = (5.0, 5)
    storage.smoothing_hints()["loss"] = False
    storage.history("loss").values().append((7.0, 7))
    with pytest.raises(TypeError):
        storage.histories()["other"] = HistoryBuffer()  # type: ignore[index]  # wrong on purpose
    assert storage.latest() == {"loss": (1.0, 0)}
    assert storage.smoothing_hints() == {"loss": True}
    assert storage.history("loss").values() == [(1.0, 0)]


def test_a_series_that_began_long_ago_is_smoothed_by_its_own_newest() -> None:
    storage = EventStorage()
    for iteration, value in ((0, 1.0), (1, 3.0), (2, 100.0)):
        storage.put_scalar("early", value, cur_iter=iteration)
    storage.iter = 5000
    assert storage.count_samples("early", 2) == 2
    assert storage.latest_with_smoothing_hint(2) == {"early": (51.5, 2)}


def test_a_state_holds_tensors_and_plain_values_only(tmp_path: pathlib.Path) -> None:
    storage = EventStorage()
    storage.put_scalars(a=1.5, b=2)
    storage.put_scalar("lr", 0.1, smoothing_hint=False)
    torch.save(storage.state_dict(), tmp_path / "state.pth")
    other = EventStorage()
    other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert other.latest() == storage.latest()
    assert other.smoothing_hints() == storage.smoothing_hints()


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(KeyError, match="series"):
        EventStorage().load_state_dict({"model": {}})
    empty = EventStorage()
    empty.load_state_dict(EventStorage().state_dict())
    assert empty.latest() == {}


# Pictures and histograms


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=30).filter(
        lambda values: max(values) - min(values) > 1e-2
    ),
    st.integers(1, 20),
)
def test_a_histogram_says_of_its_tensor_what_numpy_does(values: list[float], bins: int) -> None:
    storage = EventStorage(4)
    storage.put_histogram("x", torch.tensor(values).view(1, -1), bins)
    (found,) = storage.histograms
    edges = np.histogram_bin_edges(values, bins)
    np.testing.assert_allclose(found["bucket_limits"], edges[1:], rtol=1e-4, atol=1e-4)
    assert len(found["bucket_counts"]) == bins
    assert sum(found["bucket_counts"]) == found["num"] == len(values)
    assert (found["min"], found["max"]) == (min(values), max(values))
    assert found["sum"] == pytest.approx(sum(values), abs=1e-2)
    assert found["sum_squares"] == pytest.approx(sum(v * v for v in values), rel=1e-4)
    assert (found["tag"], found["global_step"]) == ("x", 4)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_histograms_are_of_tensors_of_any_type(dtype: torch.dtype) -> None:
    storage = EventStorage()
    tensor = torch.tensor([0, 1, 1, 3], dtype=dtype)
    storage.put_histogram("x", tensor.requires_grad_(dtype.is_floating_point), bins=3)
    storage.put_histogram("x", tensor)
    found, finer = storage.histograms
    assert len(finer["bucket_counts"]) == len(finer["bucket_limits"]) == 1000
    assert found["bucket_counts"] == [1.0, 2.0, 1.0]
    assert found["bucket_limits"] == [1.0, 2.0, 3.0]


def test_pictures_are_kept_in_order_with_their_iterations() -> None:
    storage = EventStorage()
    pictures = [torch.zeros(3, 1, 1), np.ones((3, 2, 2), np.uint8)]
    for name, picture in zip("ab", pictures, strict=True):
        storage.put_image(name, picture)
        storage.step()
    assert [(name, when) for name, _, when in storage.images] == [("a", 0), ("b", 1)]
    assert all(
        kept is picture for (_, kept, _), picture in zip(storage.images, pictures, strict=True)
    )
