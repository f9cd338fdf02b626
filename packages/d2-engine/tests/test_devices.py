"""The choice of device and precision."""

import pytest
import torch

from d2_engine.devices import choose_device, use_mixed_precision

CPU = torch.device("cpu")


def test_auto_is_cuda_where_it_is_available(monkeypatch):
    for available, wanted in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert choose_device("auto").type == wanted


def test_a_device_can_be_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cpu") == CPU
    assert choose_device("cuda:1") == torch.device("cuda", 1)


def test_cuda_where_there_is_none_names_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda' was asked for.* use cpu or auto"):
        choose_device("cuda")


def test_what_is_no_device_is_refused():
    with pytest.raises(ValueError, match="'gpu' names no device: use auto, cpu"):
        choose_device("gpu")


@pytest.mark.parametrize("enabled", [True, False])
def test_precision_follows_an_explicit_choice(enabled):
    assert use_mixed_precision(enabled, CPU) is enabled


@pytest.mark.parametrize(("bf16", "wanted"), [(True, True), (False, False)])
def test_auto_precision_on_the_cpu_follows_its_capabilities_and_says_so(
    monkeypatch, caplog, bf16, wanted
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16}, raising=False)
    with caplog.at_level("INFO", "d2_engine.devices"):
        assert use_mixed_precision("auto", CPU) is wanted
    assert f"Training in {'bfloat16' if wanted else 'float32'}: this processor" in caplog.text


@pytest.mark.parametrize("bf16", [True, False])
def test_mixed_precision_on_a_cpu_without_it_is_warned_of(monkeypatch, caplog, bf16):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": bf16}, raising=False)
    assert use_mixed_precision(True, CPU) is True
    assert ("ten times as long" in caplog.text) is not bf16


def test_auto_precision_is_full_where_torch_cannot_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert use_mixed_precision("auto", CPU) is False


def test_auto_precision_is_mixed_on_cuda():
    assert use_mixed_precision("auto", torch.device("cuda")) is True


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="true, false or auto, got 'fp16'"):
        use_mixed_precision("fp16", CPU)


def test_messages_name_no_option_of_a_caller(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    calls = [
        lambda: choose_device("gpu"),
        lambda: choose_device("cuda"),
        lambda: use_mixed_precision("fp16", CPU),
    ]
    for call in calls:
        with pytest.raises(ValueError) as caught:
            call()
        assert "train." not in str(caught.value)
