#!/usr/bin/env bash
# build.sh ARCHITECTURE FOLDER [PIP OPTION ...]: builds d2-ops for one architecture, on all cores,
# without network, and puts it there.
set -euo pipefail

packages=$(cd "$(dirname "$0")/../../packages" && pwd)
architecture=$1
folder=$2
shift 2
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)} \
    "${PYTHON:-python3}" -m pip install --verbose --no-index --no-deps --no-build-isolation \
    --no-cache-dir --no-compile --root-user-action=ignore "$packages/d2-ops" --target "$folder" \
    -C cmake.define.D2_OPS_CUDA=ON \
    -C "cmake.define.D2_OPS_CUDA_ARCHITECTURES=$architecture" "$@"
