"""Source archives: they hold all that a package's folder does, and say what a build needs."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from cpp_builds import PATH  # of this folder

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir())
# What builders add.
ADDED = {"PKG-INFO", ".gitignore"}

if shutil.which("git") is None or not (ROOT / ".git").exists():
    pytest.skip("this is not a git checkout", allow_module_level=True)
for module in ("build", "hatchling", "scikit_build_core"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_an_sdist_holds_every_file_of_its_package(package: str, tmp_path: Path) -> None:
    folder = ROOT / "packages" / package
    build = ("-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(folder))
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        found = {name.split("/", 1)[1] for name in members.getnames() if "/" in name}
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."]
    kept = subprocess.check_output(listing, cwd=folder, text=True).split("\0")
    wanted = {name for name in kept if name and (folder / name).is_file()}
    assert sorted(wanted ^ (found - ADDED)) == []


def test_a_build_without_torch_says_what_to_type(compiler: None, tmp_path: Path) -> None:
    source = ROOT / "packages" / "d2-ops"
    definitions = {
        "SKBUILD_PROJECT_NAME": "d2-ops",
        "SKBUILD_PROJECT_VERSION": "0.1.0",
        "D2_OPS_TORCH_DIR": tmp_path / "torch",
    }
    done = subprocess.run(
        ["cmake", "-S", source, "-B", tmp_path, *(f"-D{k}={v}" for k, v in definitions.items())],
        env=os.environ | {"PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    told = " ".join(done.stderr.split())
    assert "compiles against the headers of torch >= 2.10 and found none" in told
    assert "Build with `pip install --no-build-isolation`" in told
