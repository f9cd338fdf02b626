"""Importing the package costs little beyond torch."""

import json
import subprocess
import sys

REPORT = """
import json, sys
import torch
before = set(sys.modules)
import d2_structures
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_the_structures_loads_only_them_and_the_host_kernels():
    output = subprocess.check_output([sys.executable, "-c", REPORT], text=True)
    loaded = json.loads(output)
    packages = {name.split(".")[0] for name in loaded}
    assert packages - {"d2_structures", "d2_ops", "numpy"} <= set(sys.stdlib_module_names)
    for lazy in ("visualizer", "conversions", "comm"):
        assert f"d2_structures.{lazy}" not in loaded
