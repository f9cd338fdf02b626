import pytest
import torch

from d2_ops.memory import retry_if_cuda_oom


class OnCuda:
    """Stands in for a CUDA tensor where there is no GPU."""

    device = torch.device("cuda:0")

    def to(self, device: str) -> str:
        return f"moved to {device}"


def out_of_memory_until(call: int, seen: list[tuple[object, ...]]):
    @retry_if_cuda_oom
    def func(*args: object, **kwargs: object) -> str:
        """Its docstring."""
        seen.append((*args, *kwargs.values()))
        if len(seen) < call:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    return func


def test_a_call_that_fits_is_made_once_with_its_own_arguments() -> None:
    seen: list[tuple[object, ...]] = []
    argument = OnCuda()
    assert out_of_memory_until(1, seen)(argument, scale=2) == "done"
    assert seen == [(argument, 2)]


def test_the_second_try_keeps_the_arguments() -> None:
    seen: list[tuple[object, ...]] = []
    argument = OnCuda()
    assert out_of_memory_until(2, seen)(argument) == "done"
    assert seen == [(argument,)] * 2


def test_the_third_try_moves_cuda_arguments_to_the_cpu_and_leaves_others() -> None:
    seen: list[tuple[object, ...]] = []
    on_cpu = torch.zeros(1)
    assert out_of_memory_until(3, seen)(OnCuda(), on_cpu, "text", mask=OnCuda()) == "done"
    assert seen[2][0] == seen[2][3] == "moved to cpu"
    assert seen[2][1] is on_cpu
    assert seen[2][2] == "text"


def test_running_out_a_third_time_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        out_of_memory_until(4, [])(1)


def test_other_errors_pass_through_at_once() -> None:
    calls = []

    @retry_if_cuda_oom
    def func() -> None:
        calls.append(1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        func()
    assert len(calls) == 1


def test_the_wrapped_function_keeps_its_name_and_docstring() -> None:
    func = out_of_memory_until(1, [])
    assert func.__name__ == "func"
    assert func.__doc__ == "Its docstring."
