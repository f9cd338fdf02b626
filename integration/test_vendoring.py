"""d2-ops inside other projects: a renamed copy beside it, and its kernels in a C++ program."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cpp_builds import run  # of this folder

import d2_ops
from d2_ops import host

OPS = Path(__file__).parents[1] / "packages" / "d2-ops"

COMPARE = """
import acme_kernels, d2_ops, numpy, torch

generator = torch.Generator().manual_seed(0)
corners = 90 * torch.rand(200, 2, generator=generator)
boxes = torch.cat([corners, corners + 10 + 20 * torch.rand(200, 2, generator=generator)], 1)
scores = torch.rand(200, generator=generator)
features = torch.rand(1, 4, 30, 30, generator=generator)
rois = torch.cat([torch.zeros(200, 1), boxes], 1)
mask = (torch.rand(30, 40, generator=generator) > 0.5).numpy().astype(numpy.uint8)

def results(ops):
    from importlib import import_module
    host = import_module(f"{ops.__name__}.host")
    x = features.clone().requires_grad_()
    pooled = ops.roi_align(x, rois, 7, 0.25)
    pooled.square().sum().backward()
    return ops.nms(boxes, scores, 0.5), pooled.detach(), x.grad, host.rle_encode(mask)

*ours, our_rle = results(d2_ops)
*theirs, their_rle = results(acme_kernels)
assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
assert our_rle == their_rle
assert torch.ops.acme.nms(boxes, scores, 0.5).equal(torch.ops.d2_ops.nms(boxes, scores, 0.5))
assert acme_kernels.build_info()["namespace"] == "acme"
assert d2_ops.build_info()["namespace"] == "d2_ops"
"""


@pytest.fixture(scope="module")
def vendored(compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where a renamed copy of d2-ops is installed, its operators under another name."""
    for module in ("nanobind", "scikit_build_core"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    folder = tmp_path_factory.mktemp("vendored")
    copy, site = folder / "acme-kernels", folder / "site"
    shutil.copytree(OPS, copy, ignore=shutil.ignore_patterns("tests", "__pycache__", "build"))
    (copy / "src" / "d2_ops").rename(copy / "src" / "acme_kernels")
    project = copy / "pyproject.toml"
    project.write_text(project.read_text().replace('name = "d2-ops"', 'name = "acme-kernels"'))
    settings = ("D2_OPS_NAMESPACE=acme", "D2_OPS_CUDA=OFF")
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"),
        *("--no-build-isolation", "--no-deps", "--target", site, copy),
        *(f"--config-settings=cmake.define.{setting}" for setting in settings),
        # Neither optimised nor with a version per processor: built faster, and the same results.
        "--config-settings=cmake.build-type=Debug",
        environment={
            "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
            "CXXFLAGS": "-DD2_OPS_NO_CLONES",
        },
    )
    return site


def test_a_renamed_copy_lives_beside_the_original_and_computes_the_same(vendored: Path) -> None:
    run(sys.executable, "-c", COMPARE, environment={"PYTHONPATH": str(vendored)})


def test_a_renamed_copy_does_not_need_the_original(vendored: Path) -> None:
    """Not even its name: nothing is left of it among modules and operator namespaces."""
    code = (
        "import sys, torch, acme_kernels, acme_kernels.host\n"
        "acme_kernels.load_library()\n"
        "names = {str(schema.name).split('::')[0] for schema in torch._C._jit_get_all_schemas()}\n"
        "print('d2_ops' in sys.modules, 'd2_ops' in names, 'acme' in names)"
    )
    printed = run(sys.executable, "-c", code, environment={"PYTHONPATH": str(vendored)})
    assert printed.split() == ["False", "False", "True"]


def test_a_cpp_program_is_built_against_the_installed_kernels(
    compiler: None, tmp_path: Path
) -> None:
    cmake_dir = run(sys.executable, "-m", "d2_ops", "--cmake-dir").strip()
    assert Path(cmake_dir) == d2_ops.cmake_dir()
    sources = OPS / "examples" / "cpp"
    run("cmake", "-G", "Ninja", "-S", sources, "-B", tmp_path, f"-Dd2_ops_DIR={cmake_dir}")
    run("cmake", "--build", tmp_path)

    generator = torch.Generator().manual_seed(0)
    corners = (40 * torch.rand(50, 2, generator=generator)).round(decimals=2)
    sides = 5 + (10 * torch.rand(50, 2, generator=generator)).round(decimals=2)
    boxes, scores = torch.cat([corners, corners + sides], 1), torch.rand(50, generator=generator)
    rows = [[*box, score] for box, score in zip(boxes.tolist(), scores.tolist(), strict=True)]
    text = "\n".join(" ".join(map(repr, row)) for row in rows)
    printed = run(tmp_path / "keep_boxes", 0.3, 48, 64, input=text)

    kept = d2_ops.nms(boxes, scores, 0.3)
    expected = []
    for i, (x1, y1, x2, y2) in zip(kept.tolist(), boxes[kept].tolist(), strict=True):
        rle = host.polygons_to_rle([[x1, y1, x2, y1, x2, y2, x1, y2]], height=48, width=64)
        expected.append(f"{i} {host.rle_area(rle)} {rle['counts'].decode()}")
    assert printed.splitlines() == expected
    assert 1 < len(expected) < 50

    refused = subprocess.run(
        [tmp_path / "keep_boxes", "0.3", "48", "64"],
        input=b"1 2 3",
        capture_output=True,
        check=False,
    )
    assert (refused.returncode, refused.stderr) == (1, b"keep_boxes: box 0 is not five numbers\n")
