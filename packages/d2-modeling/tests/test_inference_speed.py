"""`optimize_for_inference`: the same outputs, names and hooks; what was done is what is said."""

import copy
import logging
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from d2_config import get_cfg
from d2_modeling import build_model, optimize_for_inference, optimized_for_inference
from d2_modeling.layers import Conv2d, FrozenBatchNorm2d
from d2_modeling.layers.folded_convolution import FoldedConv2d
from d2_modeling.layers.norm import get_norm


def block(norm: str | Callable[[int], nn.Module] = "FrozenBN") -> nn.Sequential:
    """Two convolutions with norms of uneven statistics."""
    torch.manual_seed(0)
    layers = []
    for width in (3, 8):
        layers.append(Conv2d(width, 8, 3, padding=1, norm=get_norm(norm, 8), activation=torch.relu))
        for name, value in layers[-1].norm.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + (0.5 if "var" in name else -0.2))
    return nn.Sequential(*layers).eval()


def images() -> Tensor:
    return torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(1))


def assert_close(got: Tensor, wanted: Tensor) -> None:
    got, wanted = got.detach(), wanted.detach()
    assert float((got - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


class Multiplications(TorchDispatchMode):
    """Counts what folding consists of."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in ("mul", "rsqrt")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "SyncBN", "naiveSyncBN"])
def test_outputs_are_those_of_the_model_itself(norm: str) -> None:
    model = block(norm)
    fast = optimize_for_inference(model)
    with torch.no_grad():
        assert_close(fast(images()), model(images()))
    assert all(type(layer) is FoldedConv2d for layer in fast)


def test_norms_are_folded_once_and_not_at_every_forward() -> None:
    fast = optimize_for_inference(block())
    with torch.inference_mode(), Multiplications() as counted:
        fast(images())
    assert counted.count == 0
    with torch.inference_mode(), Multiplications() as counted:
        block()(images())
    assert counted.count > 0


def test_the_model_itself_is_not_changed() -> None:
    model = block()
    state = copy.deepcopy(model.state_dict())
    fast = optimize_for_inference(model.train())
    assert model.training
    assert not fast.training
    assert all(type(layer) is Conv2d for layer in model)
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)
    nn.init.zeros_(fast[0].weight)
    assert model[0].weight.abs().sum() > 0


def test_in_place_gives_back_the_model_itself() -> None:
    model = block()
    wanted = model(images())
    assert optimize_for_inference(model, inplace=True) is model
    with torch.no_grad():
        assert_close(model(images()), wanted)


def test_state_dicts_keep_their_names_and_values() -> None:
    model = block()
    fast = optimize_for_inference(model)
    torch.testing.assert_close(dict(fast.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def _load(model: nn.Module, other: nn.Module) -> None:
    model.load_state_dict(other.state_dict())


def _assign(model: nn.Module, other: nn.Module) -> None:
    model.load_state_dict(copy.deepcopy(other.state_dict()), assign=True)


@pytest.mark.parametrize("change", [_load, _assign])
def test_weights_that_are_loaded_later_count(change: Callable[..., None]) -> None:
    other = block()
    with torch.no_grad():
        for value in other.state_dict().values():
            value.mul_(1.5)
    fast = optimize_for_inference(block())
    with torch.no_grad():
        before = fast(images())
        change(fast, other)
        assert_close(fast(images()), other(images()))
    assert not torch.allclose(before, other(images()))


def test_a_norm_that_is_written_to_counts() -> None:
    model = block()
    fast = optimize_for_inference(model)
    with torch.no_grad():
        for one in (model, fast):
            one[0].norm.bias.add_(1.0)
        assert_close(fast(images()), model(images()))


def test_it_trains_as_the_model_does() -> None:
    models = block("BN"), optimize_for_inference(block("BN"))
    for model in models:
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model(images()).square().mean().backward()
        optimizer.step()
    plain, fast = (model.eval()(images()) for model in models)
    assert_close(fast, plain)
    with torch.no_grad():
        assert_close(models[1](images()), plain)


def test_gradients_reach_parameters_in_evaluation() -> None:
    model = block()
    fast = optimize_for_inference(model)
    for one in (model, fast):
        one(images()).square().mean().backward()
    torch.testing.assert_close(fast[0].weight.grad, model[0].weight.grad)


def test_it_may_be_converted_to_double_and_copied() -> None:
    fast = copy.deepcopy(optimize_for_inference(block())).double()
    with torch.no_grad():
        got = fast(images().double())
    torch.testing.assert_close(got, block().double()(images().double()))


def test_a_frozen_norm_with_its_own_forward_is_called() -> None:
    class Shifted(FrozenBatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 100.0

    fast = optimize_for_inference(block(Shifted))
    assert all(type(layer) is Conv2d for layer in fast)
    assert float(fast(images()).detach().min()) > 50


def test_hooks_stay_the_same_functions_and_are_called() -> None:
    seen: list[Any] = []

    class Keeper:
        def keep(self, module: nn.Module, args: Any, output: Tensor) -> None:
            seen.append(self)

    keeper, model = Keeper(), block()
    model[0].norm.register_forward_hook(keeper.keep)
    model[1].register_forward_hook(keeper.keep)
    fast = optimize_for_inference(model)
    with torch.no_grad():
        assert_close(fast(images()), model(images()))
    assert seen == [keeper] * 4
    assert type(fast[0]) is Conv2d  # its norm wants to be called
    assert type(fast[1]) is FoldedConv2d


def test_wrapped_parametrised_and_quantised_layers_are_left_alone() -> None:
    class LoRA(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base, self.up = base, nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.up(x)

    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight * 2

    model = block()
    model[1] = LoRA(model[1])
    nn.utils.parametrize.register_parametrization(model[0], "weight", Doubled())
    fast = optimize_for_inference(model)
    with torch.no_grad():
        assert_close(fast(images()), model(images()))
    assert not isinstance(fast[0], FoldedConv2d)
    assert isinstance(fast[1].base, FoldedConv2d)


def test_the_format_is_chosen_by_rule_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "d2_modeling.inference_speed"):
        fast = optimize_for_inference(block())
    last = torch.backends.mkldnn.is_available()
    assert fast[1].weight.is_contiguous(memory_format=torch.channels_last) == last
    assert fast[1].folded_weight.stride() == fast[1].weight.stride()
    said = "channels_last" if last else "kept"
    assert f"2 norms folded into convolutions; 0 linear layers by oneDNN; memory format {said}" in (
        caplog.text
    )


def test_a_format_that_is_asked_for_is_taken() -> None:
    fast = optimize_for_inference(block(), memory_format=torch.contiguous_format)
    assert fast(images()).is_contiguous()


def test_compiling_needs_a_backbone() -> None:
    with pytest.raises(ValueError, match="Sequential has no module 'backbone': leave it off"):
        optimize_for_inference(block(), compile=True)


# torch warns of its own use of TorchScript when its compiler is first imported.
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_compiling_waits_for_the_first_image_and_changes_no_names() -> None:
    model = nn.Module()
    model.backbone = block()
    fast = optimize_for_inference(model, compile=True)
    assert fast.backbone._compiled_call_impl is not None
    assert model.backbone._compiled_call_impl is None
    assert fast.state_dict().keys() == model.state_dict().keys()


def test_a_folded_layer_compiles_into_one_graph() -> None:
    fast = optimize_for_inference(block())
    with torch.no_grad():
        got = torch.compile(fast, backend="eager", fullgraph=True)(images())
        torch.testing.assert_close(got, fast(images()))


def test_a_whole_detector_finds_the_same() -> None:
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.MASK_ON = "cpu", True
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[size] for size in (8, 16, 32, 64, 128)]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_BOX_HEAD.NAME, cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = "FastRCNNConvFCHead", 7
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 1, 32
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.TEST.DETECTIONS_PER_IMAGE = 3, 5
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    fast = optimize_for_inference(model)
    entry = {"image": torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)}
    with torch.no_grad():
        wanted, got = (one([entry])[0]["instances"] for one in (model, fast))
    assert len(got) == len(wanted) == 5
    torch.testing.assert_close(got.pred_boxes.tensor, wanted.pred_boxes.tensor, rtol=1e-3, atol=0.1)
    torch.testing.assert_close(got.scores, wanted.scores, rtol=1e-3, atol=1e-4)


def test_a_model_in_training_is_fast_within_the_block_and_as_it_was_behind_it() -> None:
    model = block("BN").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    with optimized_for_inference(model), torch.no_grad():
        assert all(type(layer) is FoldedConv2d for layer in model)
        assert model.training
        fast = model.eval()(images())
        model.train()
    assert all(type(layer) is Conv2d for layer in model)
    assert [parameter.data_ptr() for parameter in model.parameters()] == addresses
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert_close(fast, model.eval()(images()))


def test_an_optimised_model_stays_so_behind_the_block() -> None:
    model = optimize_for_inference(block())
    with optimized_for_inference(model):
        pass
    assert all(type(layer) is FoldedConv2d for layer in model)


def test_a_model_is_as_it_was_when_the_block_fails() -> None:
    model = block()
    with pytest.raises(RuntimeError, match="within"), optimized_for_inference(model):
        raise RuntimeError("within")
    assert all(type(layer) is Conv2d for layer in model)


def detector() -> Any:
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "cpu", "RetinaNet"
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, cfg.MODEL.FPN.OUT_CHANNELS = 8, 16
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 8
    torch.manual_seed(0)
    return build_model(cfg).eval()


@pytest.fixture
def as_a_processor_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


@pytest.mark.usefixtures("as_a_processor_with_bfloat16")
def test_bfloat16_gives_the_same_within_three_hundredths_and_float32_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = detector()
    with caplog.at_level(logging.INFO, "d2_modeling.inference_speed"):
        fast = optimize_for_inference(model, dtype=torch.bfloat16)
    assert "9 modules compute in bfloat16" in caplog.text  # the backbone, and 4 of each tower
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, got = model.backbone(x), fast.backbone(x)
        head_wanted, head = (one.head(list(wanted.values())) for one in (model, fast))
        for name, feature in wanted.items():
            assert got[name].dtype == torch.float32
            largest = float(feature.abs().max())
            assert 0 < float((got[name] - feature).abs().max()) <= 0.03 * largest
        for part, other in zip(chain(*head), chain(*head_wanted), strict=True):
            assert part.dtype == torch.float32
            assert float((part - other).abs().max()) <= 0.03 * float(other.abs().max())
    assert fast.state_dict().keys() == model.state_dict().keys()
    assert all(value.dtype == torch.float32 for value in fast.parameters())
    again = optimize_for_inference(copy.deepcopy(fast), dtype=torch.float32)
    with torch.inference_mode():
        for name, feature in again.backbone(x).items():
            assert_close(feature, wanted[name])
    layer, plain = fast.head.cls_subnet[0], model.head.cls_subnet[0]
    x = torch.randn(1, 16, 8, 8)
    with torch.no_grad():
        assert float((layer(x) - plain(x)).abs().max()) > 1e-4 * float(plain(x).abs().max())
    assert_close(layer.train()(x), plain(x))


def test_where_the_processor_has_no_bfloat16_float32_stays_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    with caplog.at_level(logging.INFO, "d2_modeling.inference_speed"):
        fast = optimize_for_inference(block(), dtype=torch.bfloat16)
    assert "float32 instead of bfloat16: this processor has neither" in caplog.text
    with torch.no_grad():
        assert_close(fast(images()), block()(images()))


def test_other_types_and_compiling_in_bfloat16_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dtype can be torch.bfloat16 or .* got torch.float16"):
        optimize_for_inference(block(), dtype=torch.float16)
    with pytest.raises(ValueError, match="do not go together: choose one"):
        optimize_for_inference(detector(), dtype=torch.bfloat16, compile=True)
