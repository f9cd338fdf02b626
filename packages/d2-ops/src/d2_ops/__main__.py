"""``python -m d2_ops``: print what this build is and what it loaded."""

from __future__ import annotations

import argparse

from . import build_info, cmake_dir, onnx_library


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description="Print what this build is and what it loaded."
    )
    parser.add_argument(
        "--cmake-dir",
        action="store_true",
        help="print only the folder for CMake's d2_ops_DIR: the kernels for C++ programs",
    )
    parser.add_argument(
        "--onnx-library",
        action="store_true",
        help="print only the path of the operators for ONNX Runtime",
    )
    arguments = parser.parse_args()
    if arguments.cmake_dir or arguments.onnx_library:
        print(cmake_dir() if arguments.cmake_dir else onnx_library())
        return
    for key, value in build_info().items():
        print(f"{key + ':':<22}{value if value is not None else '—'}")


if __name__ == "__main__":
    main()
