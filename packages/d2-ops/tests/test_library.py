import importlib.metadata
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import d2_ops
from d2_ops._library import call


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_package_and_its_host_kernels_does_not_import_torch() -> None:
    code = "import sys, d2_ops, d2_ops.host; print('torch' in sys.modules)"
    assert run_python(code).strip() == "False"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nmss'"):
        _ = d2_ops.nmss


def test_load_library_registers_shapes_and_derivatives_without_naming_an_operator() -> None:
    code = """
import torch, d2_ops
d2_ops.load_library()
ops = torch.ops.d2_ops
features = torch.zeros(1, 2, 8, 8, requires_grad=True)
ops.roi_align(features, torch.zeros(3, 5), 1.0, 2, 2, 0, True).sum().backward()
on_meta = torch.zeros(3, 4, 4, device="meta"), torch.zeros(3, 4, device="meta")
print(features.grad.shape, ops.paste_masks_in_image(*on_meta, 5, 6, 0.5).shape)
"""
    assert run_python(code).strip() == "torch.Size([1, 2, 8, 8]) torch.Size([3, 5, 6])"


def test_build_info_says_what_was_loaded_and_why_the_rest_was_not() -> None:
    info = d2_ops.build_info()
    assert info["version"] == importlib.metadata.version("d2-ops")
    assert info["namespace"] == "d2_ops"
    assert info["torch"] == torch.__version__
    assert info["wheel_tag"] is None or re.fullmatch(r"cp3\S+(, cp3\S+)*", str(info["wheel_tag"]))
    assert str(info["cpu_library"]).endswith((".so", ".pyd"))
    assert info["onnx_library"] == str(d2_ops.onnx_library())
    assert (info["cuda_library"] is None) == isinstance(info["cuda_missing_because"], str)
    if torch.version.cuda is None:
        assert info["cuda_library"] is None


def test_cuda_operators_load_wherever_torch_and_the_wheel_have_cuda() -> None:
    info = d2_ops.build_info()
    if torch.version.cuda is None or info["cuda_architectures"] is None:
        pytest.skip("torch or this wheel is built without CUDA")
    assert info["cuda_library"] is not None, info["cuda_missing_because"]
    suppression = [
        f"{name}{kind}{rest}"
        for kind in ("", "_rotated")
        for name, rest in (("nms", ""), ("batched_nms", ""), ("batched_nms", "_of_all"))
    ]
    pooling = [f"roi_align{kind}{way}" for kind in ("", "_rotated") for way in ("", "_backward")]
    convolution = [f"deform_conv2d{way}" for way in ("", "_backward_sampling", "_backward_weight")]
    for name in (*suppression, "box_iou_rotated", *pooling, *convolution, "paste_masks_in_image"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"d2_ops::{name}", "CUDA")


def test_the_kernels_chosen_are_those_that_the_processor_can_run() -> None:
    chosen = str(d2_ops.build_info()["kernels"])
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.exists():
        pytest.skip(f"nothing to compare {chosen} with on {platform.machine()}")
    flags = set(cpuinfo.read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    if chosen.startswith("one version"):  # built with D2_OPS_NO_CLONES
        return
    avx512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd"}
    assert ("v4" in chosen) == (avx512 <= flags)
    assert ("SSE2" in chosen) == (not {"avx2", "fma", "bmi2"} <= flags)


def test_running_the_package_prints_the_build_info() -> None:
    command = [sys.executable, "-m", "d2_ops"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for key in d2_ops.build_info():
        assert f"{key}:" in printed


def test_the_cmake_package_is_installed_with_the_headers() -> None:
    command = [sys.executable, "-m", "d2_ops", "--cmake-dir"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    folder = Path(printed.strip())
    assert folder == d2_ops.cmake_dir()
    assert (folder / "d2_ops-config-version.cmake").exists()
    assert (folder.parent / "include" / "d2_ops" / "nms.h").exists()
    assert (folder.parent / "include" / "d2_ops" / "cuda" / "nms.cuh").exists()


def test_the_path_of_the_operators_for_onnx_runtime_is_printed() -> None:
    command = [sys.executable, "-m", "d2_ops", "--onnx-library"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert Path(printed.strip()) == d2_ops.onnx_library()
    assert d2_ops.onnx_library().is_file()


def test_pip_s_cuda_compiler_is_found_and_the_newest_wins(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "cmake" / "find_pip_nvcc.py"
    only_the_standard_library = [sys.executable, "-S", str(script)]

    def found() -> str:
        environment = {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            only_the_standard_library, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert found() == ""
    for release in ("cu12", "cu13"):
        nvcc = tmp_path / "nvidia" / release / "bin" / "nvcc"
        nvcc.parent.mkdir(parents=True)
        nvcc.touch()
    assert found() == str(nvcc)


def test_bindings_use_no_macro_that_this_torch_lacks() -> None:
    package = Path(__file__).parents[1]
    sources = [p for folder in ("csrc", "include") for p in (package / folder).rglob("*.*")]
    macro = r"\b(?:STABLE|STD|TORCH)_[A-Z0-9_]+\b"
    used = {name for source in sources for name in re.findall(macro, source.read_text())}
    include = Path(torch.__file__).parent / "include" / "torch"
    folders = ("headeronly", "csrc/stable", "csrc/inductor/aoti_torch")
    headers = [p.read_text() for folder in folders for p in (include / folder).rglob("*.h")]
    defined = {name for text in headers for name in re.findall(rf"#define +({macro})", text)}
    assert used
    assert used - defined == set()


def test_arguments_that_a_kernel_refuses_are_value_errors_whatever_torch_makes_of_them() -> None:
    def kernel(text: str) -> str:
        if text:
            raise RuntimeError(text)
        return "result"

    assert call("nms", kernel, "") == "result"
    with pytest.raises(ValueError, match=r"^nms: boxes must be finite$"):
        call("nms", kernel, "nms: boxes must be finite")
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        call("nms", kernel, "out of memory")
