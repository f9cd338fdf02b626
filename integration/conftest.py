"""What several integration tests need: the ``d2`` command and the shared data."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import cpp_builds  # of this folder
import pytest

ROOT = Path(__file__).parents[1]

D2 = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def d2() -> D2:
    """Run the installed ``d2`` command and return what it did; it must succeed."""
    command = shutil.which("d2", path=sysconfig.get_path("scripts"))
    assert command, "d2-engine installs a d2 command"

    def run(*arguments: object, datasets: Path | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [command, *map(str, arguments)],
            env=os.environ | ({"D2_DATASETS": str(datasets)} if datasets else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data."""
    folder = Path(os.environ.get("D2_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the shared data is absent; set D2_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skip where C++ cannot be built."""
    reason = cpp_builds.missing()
    if reason:
        pytest.skip(reason)
