"""The C++ programs of d2-modeling find in exported models what Python finds in them."""

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from cpp_builds import run  # of this folder

import d2_ops
from d2_modeling.export import export, load_exported

sys.path.insert(0, str(Path(__file__).parents[1] / "packages" / "d2-modeling" / "tests" / "export"))
from bright_columns import BrightColumns, TurnedColumns
from tiny_models import build

MODELING = Path(__file__).parents[1] / "packages" / "d2-modeling"
OPERATORS = Path(d2_ops.__path__[0]) / "_cpu_ops.so"
THRESHOLD = 0.2


@pytest.fixture(scope="module")
def onnxruntime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as ONNX Runtime's release for C++, of what the Python package has."""
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("onnxruntime is not installed")
    (library,) = Path(found.submodule_search_locations[0]).glob("capi/libonnxruntime.so.*")
    root = tmp_path_factory.mktemp("onnxruntime")
    (root / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (root / "lib" / name).symlink_to(library)
    (root / "include").symlink_to(Path(__file__).parent / "onnxruntime_cpp")
    return root


@pytest.fixture(scope="module")
def programs(compiler: None, onnxruntime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the built programs."""
    folder = tmp_path_factory.mktemp("cpp")
    source = MODELING / "examples" / "cpp"
    paths = (f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}",)
    paths += (f"-DONNXRUNTIME_ROOT={onnxruntime}",)
    run("cmake", "-S", source, "-B", folder, "-G", "Ninja", *paths)
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """RGB, of odd sides."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 255, (3, 71, 93), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def picture(image: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as a file."""
    path = tmp_path_factory.mktemp("picture") / "picture.ppm"
    pixels = image.permute(1, 2, 0).contiguous().numpy().tobytes()
    path.write_bytes(f"P6\n{image.shape[2]} {image.shape[1]}\n255\n".encode() + pixels)
    return path


def printed(*command: object) -> torch.Tensor:
    """What a program printed: rows of class, score and box."""
    rows = [[float(word) for word in line.split()] for line in run(*command).splitlines()]
    return torch.tensor(rows)


def expected(path: Path, image: torch.Tensor) -> torch.Tensor:
    """What `load_exported` finds, in the same form."""
    with torch.no_grad():
        found = load_exported(path, allow_unsafe=True)([{"image": image}])[0]["instances"]
    found = found[found.scores >= THRESHOLD]
    columns = (found.pred_classes[:, None], found.scores[:, None], found.pred_boxes.tensor)
    return torch.cat(columns, dim=1)


def exported(model: Any, format: str, path: Path, image: torch.Tensor) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, about themselves
        export(model, format, path, [{"image": image}], report=None)
    return path


@pytest.mark.parametrize("format", ["torchscript-trace", "torchscript-script"])
def test_libtorch_runs_a_detector_as_torchscript(
    format: str, programs: Path, image: torch.Tensor, picture: Path, tmp_path: Path
) -> None:
    bgr = image.flip(0)
    path = exported(build("Faster R-CNN"), format, tmp_path / "model.ts", bgr)
    wanted = expected(path, bgr)
    assert len(wanted) > 3
    command = (programs / "detect_torch", "--operators", OPERATORS, "--threshold", THRESHOLD)
    torch.testing.assert_close(printed(*command, path, picture), wanted, rtol=0, atol=1e-3)


def test_libtorch_runs_what_aotinductor_compiled(
    programs: Path, image: torch.Tensor, picture: Path, tmp_path: Path
) -> None:
    path = exported(BrightColumns(), "aotinductor", tmp_path / "model.pt2", image)
    wanted = expected(path, image)
    assert len(wanted) > 3
    command = (programs / "detect_torch", "--rgb", "--threshold", THRESHOLD)
    torch.testing.assert_close(printed(*command, path, picture), wanted, rtol=0, atol=1e-3)


def test_onnx_runtime_needs_nothing_but_the_file(
    programs: Path, image: torch.Tensor, picture: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="ONNX files are made by onnxscript")
    path = exported(BrightColumns(), "onnx", tmp_path / "model.onnx", image)
    wanted = expected(path, image)
    command = (programs / "detect_onnx", "--rgb", "--threshold", THRESHOLD)
    torch.testing.assert_close(printed(*command, path, picture), wanted, rtol=0, atol=1e-3)


def test_onnx_runtime_runs_rotated_boxes_with_the_library_of_d2_ops(
    programs: Path, image: torch.Tensor, picture: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="ONNX files are made by onnxscript")
    path = exported(TurnedColumns(), "onnx", tmp_path / "model.onnx", image)
    wanted = expected(path, image)
    assert len(wanted) > 3
    assert wanted.shape[1] == 7
    command = (programs / "detect_onnx", "--rgb", "--threshold", THRESHOLD)
    found = printed(*command, "--operators", d2_ops.onnx_library(), path, picture)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
    with pytest.raises(AssertionError, match="d2_ops"):
        run(*command, path, picture)


@pytest.mark.parametrize("program", ["detect_torch", "detect_onnx"])
def test_what_is_no_picture_or_no_model_is_named(
    program: str, programs: Path, picture: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.ppm"
    damaged.write_bytes(picture.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="ends before its last pixel"):
        run(programs / program, "none.onnx", damaged)
    with pytest.raises(AssertionError, match="no PPM file"):
        run(programs / program, "none.onnx", programs / "CMakeCache.txt")
    with pytest.raises(AssertionError, match=r"none\.onnx"):
        run(programs / program, "none.onnx", picture)
    with pytest.raises(AssertionError, match="usage"):
        run(programs / program)
