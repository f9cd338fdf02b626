import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import d2_ops


def hat(positions: Tensor, pixels: int) -> Tensor:
    """(..., pixels): how much each pixel of an axis counts at a position."""
    away = positions[..., None] - torch.arange(pixels, dtype=positions.dtype)
    return (1 - away.abs()).clamp(min=0)


def oracle(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Every sample as a weighted sum over all rows and columns of its plane."""
    (images, channels, *size), (filters, per_group, *kernel) = input.shape, weight.shape
    height, width = offset.shape[2:]
    taps, groups = kernel[0] * kernel[1], channels // per_group
    moved = offset.reshape(images, -1, *kernel, 2, height, width)
    rows = torch.arange(height) * stride - padding
    columns = torch.arange(width) * stride - padding
    y = (
        moved[..., 0, :, :]
        + rows[:, None]
        + (torch.arange(kernel[0]) * dilation)[:, None, None, None]
    )
    x = moved[..., 1, :, :] + columns + (torch.arange(kernel[1]) * dilation)[:, None, None]
    planes = input.reshape(images, moved.shape[1], -1, *size)
    samples = torch.einsum(
        "bdijyxh,bdijyxw,bdchw->bdcijyx", hat(y, size[0]), hat(x, size[1]), planes
    )
    if mask is not None:
        samples = samples * mask.reshape(images, -1, 1, *kernel, height, width)
    out = torch.einsum(
        "bgckp,gock->bgop",
        samples.reshape(images, groups, per_group, taps, -1),
        weight.reshape(groups, filters // groups, per_group, taps),
    )
    return out.reshape(images, filters, height, width) + bias[:, None, None]


def random_case(
    seed: int,
    *,
    batch: int = 2,
    channels: int = 4,
    filters: int = 4,
    groups: int = 1,
    deformable_groups: int = 1,
    kernel: tuple[int, int] = (3, 3),
    size: tuple[int, int] = (5, 6),
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
    modulated: bool = True,
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    height, width = (
        (size[i] + 2 * padding - dilation * (kernel[i] - 1) - 1) // stride + 1 for i in (0, 1)
    )
    planes = deformable_groups * kernel[0] * kernel[1]
    return {
        "input": randn(batch, channels, *size),
        "offset": 2 * randn(batch, 2 * planes, height, width),
        "weight": randn(filters, channels // groups, *kernel),
        "bias": randn(filters),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "mask": randn(batch, planes, height, width) if modulated else None,
    }


def with_gradients(function: Any, case: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """The output, and the gradient of each tensor."""
    leaves = {
        name: value.detach().clone().requires_grad_() if isinstance(value, Tensor) else value
        for name, value in case.items()
    }
    out = function(**leaves)
    generator = torch.Generator().manual_seed(seed)
    out.backward(torch.randn(out.shape, dtype=torch.float64, generator=generator).to(out))
    gradients = {name: leaf.grad for name, leaf in leaves.items() if isinstance(leaf, Tensor)}
    return {"out": out.detach(), **gradients}


def assert_all_close(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: float
) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], **tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


CASES = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 2),
        "groups": st.sampled_from([1, 2, 4]),
        "deformable_groups": st.sampled_from([1, 2, 4]),
        "kernel": st.sampled_from([(1, 1), (3, 3), (2, 3)]),
        "size": st.sampled_from([(5, 6), (4, 3), (7, 9)]),
        "stride": st.integers(1, 2),
        "padding": st.integers(0, 2),
        "dilation": st.integers(1, 2),
        "modulated": st.booleans(),
    }
)


def fits(shape: dict[str, Any]) -> bool:
    return all(
        shape["size"][i] + 2 * shape["padding"] > shape["dilation"] * (shape["kernel"][i] - 1)
        for i in (0, 1)
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), shape=CASES.filter(fits))
def test_forward_and_gradients_equal_the_definition(seed: int, shape: dict[str, Any]) -> None:
    case = random_case(seed, **shape)
    ours, theirs = with_gradients(d2_ops.deform_conv2d, case), with_gradients(oracle, case)
    assert_all_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.fixture(scope="module")
def torchvision() -> Any:
    return pytest.importorskip("torchvision", exc_type=ImportError)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), shape=CASES.filter(fits), whole=st.booleans())
def test_equals_torchvision(
    torchvision: Any, seed: int, shape: dict[str, Any], whole: bool
) -> None:
    case = random_case(seed, **shape)
    if whole:  # positions at pixels and exactly at the border have one-sided gradients
        case["offset"] = case["offset"].round()
    ours = with_gradients(d2_ops.deform_conv2d, case)
    theirs = with_gradients(torchvision.ops.deform_conv2d, case)
    assert_all_close(ours, theirs, atol=1e-10, rtol=1e-10)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), shape=CASES.filter(fits))
def test_unmoved_taps_are_an_ordinary_convolution(seed: int, shape: dict[str, Any]) -> None:
    case = random_case(seed, **{**shape, "modulated": False})
    case["offset"].zero_()
    groups = shape["groups"]

    def convolve(offset: Tensor, mask: None, **arguments: Any) -> Tensor:
        return nn.functional.conv2d(groups=groups, **arguments) + 0 * offset.sum()

    ours, theirs = with_gradients(d2_ops.deform_conv2d, case), with_gradients(convolve, case)
    ours.pop("offset"), theirs.pop("offset")
    assert_all_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("modulated", [False, True])
def test_gradients(modulated: bool) -> None:
    case = random_case(1, batch=1, size=(4, 4), groups=2, deformable_groups=2, modulated=modulated)
    names = [name for name, value in case.items() if isinstance(value, Tensor)]

    def convolve(*tensors: Tensor) -> Tensor:
        return d2_ops.deform_conv2d(**{**case, **dict(zip(names, tensors, strict=True))})

    leaves = [case[name].clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(convolve, leaves, eps=1e-7, atol=1e-5)


def test_gradients_are_computed_only_for_what_needs_them() -> None:
    case = random_case(2)
    expected = with_gradients(d2_ops.deform_conv2d, case)
    for name in ("input", "offset", "mask", "weight", "bias"):
        leaf = case[name].clone().requires_grad_()
        out = d2_ops.deform_conv2d(**{**case, name: leaf})
        generator = torch.Generator().manual_seed(0)
        out.backward(torch.randn(out.shape, dtype=torch.float64, generator=generator))
        assert leaf.grad.equal(expected[name])


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["deform_conv"]
    x = values["x"]
    out = d2_ops.deform_conv2d(x, values["offset"], values["weight"], padding=1)
    torch.testing.assert_close(out, values["out"], atol=1e-5, rtol=1e-5)
    out = d2_ops.deform_conv2d(
        x, values["offset_s2d2"], values["weight_s2d2"], stride=2, padding=2, dilation=2
    )
    torch.testing.assert_close(out, values["out_s2d2"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)]
)
def test_smaller_floats_are_as_good_as_their_precision(
    dtype: torch.dtype, tolerance: float
) -> None:
    case = random_case(3)
    small = {n: v.to(dtype) if isinstance(v, Tensor) else v for n, v in case.items()}
    exact = {n: v.double() if isinstance(v, Tensor) else v for n, v in small.items()}
    ours = with_gradients(d2_ops.deform_conv2d, small)
    for name, expected in with_gradients(d2_ops.deform_conv2d, exact).items():
        assert ours[name].dtype == dtype
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            ours[name].double(), expected, atol=tolerance * scale, rtol=tolerance
        )


def test_precisions_may_be_mixed_and_gradients_come_in_their_own() -> None:
    case = random_case(4)
    case["input"], case["weight"] = case["input"].half(), case["weight"].float()
    gradients = with_gradients(d2_ops.deform_conv2d, case)
    assert gradients["out"].dtype == gradients["input"].dtype == torch.float16
    assert gradients["weight"].dtype == torch.float32
    assert gradients["offset"].dtype == gradients["mask"].dtype == torch.float64


def test_autocast_changes_nothing() -> None:
    case = random_case(5)
    case = {n: v.float() if isinstance(v, Tensor) else v for n, v in case.items()}
    expected = with_gradients(d2_ops.deform_conv2d, case)
    with torch.autocast("cpu", torch.bfloat16):
        ours = with_gradients(d2_ops.deform_conv2d, case)
    for name, value in expected.items():
        assert ours[name].equal(value)


def test_works_on_parameters_without_recording_gradients() -> None:
    case = random_case(6)
    expected = d2_ops.deform_conv2d(**case)
    case["weight"].requires_grad_()
    with torch.no_grad():
        assert d2_ops.deform_conv2d(**case).equal(expected)
    with torch.inference_mode():
        assert d2_ops.deform_conv2d(**case).equal(expected)


def test_strides_do_not_matter() -> None:
    case = random_case(7, channels=8, groups=2, deformable_groups=4)
    expected = with_gradients(d2_ops.deform_conv2d, case)
    for name in ("input", "offset", "mask", "weight"):
        for strided in (
            case[name].contiguous(memory_format=torch.channels_last),
            case[name].transpose(2, 3).contiguous().transpose(2, 3),
        ):
            ours = with_gradients(d2_ops.deform_conv2d, {**case, name: strided})
            assert_all_close(ours, expected)
    out = d2_ops.deform_conv2d(**{**case, "input": case["input"].requires_grad_()})
    out.sum().backward()  # expanded gradients


def test_many_channels_and_blocks_of_pixels_equal_single_channels() -> None:
    """More columns than are made at once, and channels beyond whole vectors and shares."""
    case = random_case(8, batch=1, channels=70, filters=2, size=(70, 100), modulated=False)
    assert 8 * case["input"].numel() * 9 > 32 << 20
    ours = with_gradients(d2_ops.deform_conv2d, case)
    case["offset"] = case["offset"].repeat(1, 70, 1, 1)  # every channel a deformable group
    theirs = with_gradients(d2_ops.deform_conv2d, case)
    theirs["offset"] = theirs["offset"].unflatten(1, (70, -1)).sum(1)
    assert_all_close(ours, theirs, atol=1e-9, rtol=1e-9)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    case = random_case(9, channels=80, size=(20, 20))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(with_gradients(d2_ops.deform_conv2d, case))
    finally:
        torch.set_num_threads(threads)
    for name in ("input", "offset", "mask"):
        torch.testing.assert_close(results[0][name], results[1][name], atol=1e-12, rtol=1e-12)


def test_offsets_that_are_not_finite_spoil_only_their_pixel() -> None:
    case = random_case(10, batch=1, modulated=False)
    expected = d2_ops.deform_conv2d(**case)
    for value in (math.nan, math.inf, -math.inf, 1e30):
        moved = case["offset"].clone()
        moved[0, 3, 2, 2] = value
        out = d2_ops.deform_conv2d(**{**case, "offset": moved})
        assert bool(out[0, :, 2, 2].isnan().all()) == math.isnan(value)
        out[0, :, 2, 2] = expected[0, :, 2, 2]
        assert out.equal(expected)
        with_gradients(d2_ops.deform_conv2d, {**case, "offset": moved})


def test_samples_outside_are_zero_whatever_the_border_holds() -> None:
    image = torch.full((1, 1, 3, 3), math.inf)
    offset = torch.full((1, 2, 3, 3), -1.0)  # the first row and column sample at -1
    out = d2_ops.deform_conv2d(image, offset, torch.ones(1, 1, 1, 1))
    assert not out[0, 0, 0].any()
    assert not out[0, 0, :, 0].any()


@pytest.mark.parametrize("modulated", [False, True])
def test_no_images_give_an_output_without_images_and_zero_gradients(modulated: bool) -> None:
    case = random_case(11, batch=0, stride=2, modulated=modulated)
    results = with_gradients(d2_ops.deform_conv2d, case)
    assert results.pop("out").shape == (0, 4, 3, 3)
    for name, gradient in results.items():
        assert gradient.shape == case[name].shape
        assert not gradient.any()


def test_an_image_without_pixels_is_all_padding() -> None:
    out = d2_ops.deform_conv2d(
        torch.zeros(1, 2, 0, 3), torch.zeros(1, 2, 2, 5), torch.ones(1, 2, 1, 1), padding=1
    )
    assert out.shape == (1, 1, 2, 5)
    assert not out.any()


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "input must be a floating tensor", {"input": torch.zeros(1, 4, 5, 6).int()}),
    (TypeError, "mask must be a floating tensor", {"mask": torch.ones(1, 9, 5, 6).bool()}),
    (TypeError, "bias must be a floating tensor", {"bias": 3}),
    (ValueError, "input must have 4 dimensions, got", {"input": torch.zeros(4, 5, 6)}),
    (ValueError, "offset must have 18 channels per", {"offset": torch.zeros(1, 20, 5, 6)}),
    (ValueError, "the groups divide 4 input", {"offset": torch.zeros(1, 3 * 18, 5, 6)}),
    (ValueError, r"offset must have shape \(1, 18, 5, 6\)", {"offset": torch.zeros(2, 18, 5, 6)}),
    (ValueError, r"mask must have shape \(1, 9, 5, 6\)", {"mask": torch.zeros(1, 18, 5, 6)}),
    (ValueError, "weight must have shape", {"weight": torch.zeros(4, 3, 3, 3)}),
    (ValueError, "weight must have shape", {"weight": torch.zeros(4, 4, 0, 3)}),
    (ValueError, "3 filters cannot be divided into 2", {"weight": torch.zeros(3, 2, 3, 3)}),
    (ValueError, r"bias must have shape \(4,\)", {"bias": torch.zeros(3)}),
    (
        ValueError,
        "offset is on meta but input on cpu",
        {"offset": torch.zeros(1, 18, 5, 6).to("meta")},
    ),
    (ValueError, "stride must be at least 1", {"stride": (1, 0)}),
    (ValueError, "padding must be at least 0", {"padding": -1}),
    (ValueError, "dilation must be at least 1", {"dilation": 0}),
    (ValueError, "stride must be a number or a pair", {"stride": (1, 1, 1)}),
    (ValueError, "smaller than the kernel", {"dilation": 9}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = random_case(0, batch=1)
    with pytest.raises(error, match=message):
        d2_ops.deform_conv2d(**{**good, **change})


def test_the_operator_itself_refuses_what_does_not_fit() -> None:
    case = random_case(0, batch=1)
    bare = torch.ops.d2_ops
    tensors = [case[name] for name in ("input", "offset", "mask", "weight")]
    settings = [1, 1, 1, 1, 1, 1]
    with pytest.raises(Exception, match="offset must have 1 images of the output's"):
        bare.deform_conv2d(tensors[0], tensors[1][..., :-1], *tensors[2:], *settings)
    with pytest.raises(Exception, match="grad must have the shape"):
        bare.deform_conv2d_backward_weight(torch.zeros(1, 4, 5, 5), *tensors, *settings)


def test_a_second_derivative_is_refused() -> None:
    case = random_case(12, batch=1)
    case["input"].requires_grad_()
    (gradient,) = torch.autograd.grad(
        d2_ops.deform_conv2d(**case).sum(), case["input"], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once, not twice"):
        gradient.sum().backward()


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("modulated", [False, True])
def test_opcheck(modulated: bool) -> None:
    case = random_case(0, modulated=modulated)
    bare = torch.ops.d2_ops
    tensors = [case[name] for name in ("input", "offset", "mask", "weight")]
    arguments = [*(t if t is None else t.clone().requires_grad_() for t in tensors), *[1] * 6]
    torch.library.opcheck(bare.deform_conv2d.default, arguments)
    arguments = [torch.randn(2, 4, 5, 6, dtype=torch.float64), *tensors, *[1] * 6]
    torch.library.opcheck(bare.deform_conv2d_backward_sampling.default, arguments)
    torch.library.opcheck(bare.deform_conv2d_backward_weight.default, arguments)


class Layer(nn.Module):
    """A deformable convolution with what predicts its offsets and masks."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = nn.Conv2d(4, 27, 3, padding=1)
        self.convolve = d2_ops.ModulatedDeformConv(4, 6, 3, padding=1, norm=nn.BatchNorm2d(6))

    def forward(self, x: Tensor) -> Tensor:
        moved = self.predict(x)
        convolved: Tensor = self.convolve(x, moved[:, :18], moved[:, 18:].sigmoid())
        return convolved


def test_compiles_in_one_graph_with_dynamic_shapes() -> None:
    layer = Layer()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((2, 4, 9, 8), (3, 4, 7, 11)):
        ours, theirs = (torch.ones(size).requires_grad_() for _ in range(2))
        out, expected = compiled(ours), layer(theirs)
        torch.testing.assert_close(out, expected)
        out.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-3, rtol=1e-3)


def test_exports_with_dynamic_shapes() -> None:
    layer = Layer().eval()
    dims = {0: torch.export.Dim("batch"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    program = torch.export.export(layer, (torch.rand(2, 4, 9, 8),), dynamic_shapes=(dims,))
    x = torch.rand(3, 4, 12, 7)
    torch.testing.assert_close(program.module()(x), layer(x))


def test_module_parameters_and_settings() -> None:
    plain = d2_ops.DeformConv(4, 6, 3, norm=nn.BatchNorm2d(6))
    assert {"weight", "norm.weight"} <= set(plain.state_dict())
    assert "bias" not in plain.state_dict()
    modulated = d2_ops.ModulatedDeformConv(4, 6, (3, 1), stride=2, groups=2, deformable_groups=4)
    assert {n: tuple(p.shape) for n, p in modulated.named_parameters()} == {
        "weight": (6, 2, 3, 1),
        "bias": (6,),
    }
    assert not modulated.bias.any()
    assert repr(modulated) == (
        "ModulatedDeformConv(4, 6, kernel_size=(3, 1), stride=(2, 2), padding=(0, 0), "
        "dilation=(1, 1), groups=2, deformable_groups=4, bias=True)"
    )


def test_modules_apply_norm_then_activation() -> None:
    case = random_case(13, groups=2, deformable_groups=2, stride=2)
    settings = {"stride": 2, "padding": 1, "groups": 2, "deformable_groups": 2}
    norm = nn.GroupNorm(2, 4).double()
    for kind, mask in ((d2_ops.DeformConv, None), (d2_ops.ModulatedDeformConv, case["mask"])):
        module = kind(4, 4, 3, **settings, bias=True, norm=norm, activation=torch.relu).double()
        inputs = [case["input"], case["offset"], *([] if mask is None else [mask])]
        expected = d2_ops.deform_conv2d(
            *inputs[:2], module.weight, module.bias, stride=2, padding=1, mask=mask
        )
        assert module(*inputs).equal(norm(expected).relu())


def test_modules_map_no_images_to_no_images() -> None:
    module = d2_ops.DeformConv(4, 6, 3, stride=2, padding=1)
    x = torch.zeros(0, 4, 9, 8, requires_grad=True)
    out = module(x, torch.zeros(0, 18, 5, 4))
    assert out.shape == (0, 6, 5, 4)
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert not module.weight.grad.any()


def test_modules_name_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="groups=3 does not divide in_channels=4"):
        d2_ops.DeformConv(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match="deformable_groups=3 does not divide"):
        d2_ops.ModulatedDeformConv(4, 6, 3, deformable_groups=3)
    with pytest.raises(ValueError, match="offset must have 36 channels for 2 deformable groups"):
        d2_ops.DeformConv(4, 6, 3, deformable_groups=2)(
            torch.zeros(1, 4, 5, 5), torch.zeros(1, 18, 3, 3)
        )


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_cuda_equals_the_cpu(
    device: torch.device, dtype: torch.dtype, modulated: bool, groups: int
) -> None:
    case = random_case(
        14, channels=72, filters=8, groups=groups, deformable_groups=2 * groups, modulated=modulated
    )
    host = {n: v.to(dtype) if isinstance(v, Tensor) else v for n, v in case.items()}
    there = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in host.items()}
    results = with_gradients(d2_ops.deform_conv2d, there)
    for name, expected in with_gradients(d2_ops.deform_conv2d, host).items():
        tolerance = 0.05 if dtype.itemsize == 2 else 1e-3
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            results[name].cpu(), expected, atol=tolerance * scale, rtol=tolerance
        )


@pytest.mark.gpu
def test_cuda_backward_refuses_to_be_deterministic(cuda: torch.device) -> None:
    case = {n: v.to(cuda) if isinstance(v, Tensor) else v for n, v in random_case(0).items()}
    case["input"].requires_grad_()
    out = d2_ops.deform_conv2d(**case)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="deterministic"):
            out.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
