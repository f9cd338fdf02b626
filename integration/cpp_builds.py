"""Building C++ in tests."""

import os
import shutil
import subprocess
import sysconfig

# The programs of this environment first: cmake and ninja are installed beside Python.
PATH = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])


def run(*command: object, **options: object) -> str:
    """Run a command, which must succeed, and return what it printed."""
    environment = {**os.environ, "PATH": PATH, **options.pop("environment", {})}
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def missing() -> str:
    """What C++ cannot be built without and is not there, as a sentence; empty if all is."""
    if shutil.which(os.environ.get("CXX", "c++"), path=PATH) is None:
        return "there is no C++ compiler: c++ is not on PATH and CXX not set"
    for program in ("cmake", "ninja"):
        if shutil.which(program, path=PATH) is None:
            return f"{program} is not installed"
    return ""
