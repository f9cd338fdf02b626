#!/usr/bin/env bash
# Collects in benchmarks/gpu/pack what a GPU machine without network lacks: wheels of what the seven
# packages declare, for Python 3.12 on Linux x86-64. run.sh installs them there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
pack=$here/pack
python=${PYTHON:-python3}
most_mebibytes=40

rm -rf "$pack"
mkdir "$pack"
mapfile -t wanted < <("$python" "$here/requirements.py")

# omegaconf's parser is published as source only; its wheel is pure.
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$pack" "antlr4-python3-runtime==4.9.*"

platforms=()
for glibc in $(seq 39 -1 17); do
    platforms+=(--platform "manylinux_2_${glibc}_x86_64")
done
platforms+=(--platform manylinux2014_x86_64)
"$python" -m pip download --quiet --dest "$pack" --find-links "$pack" --only-binary=:all: \
    --python-version 3.12 --implementation cp "${platforms[@]}" "${wanted[@]}"

# What the machine brings along came as a dependency of something else.
while read -r name; do
    rm -f "$pack/$name"-*.whl
done < <("$python" "$here/requirements.py" --provided)

mebibytes=$(du --summarize --block-size=1M "$pack" | cut -f1)
printf '%s wheels, %s MiB, in %s\n' "$(find "$pack" -name '*.whl' | wc -l)" "$mebibytes" "$pack"
if ((mebibytes >= most_mebibytes)); then
    printf 'more than %s MiB: something large slipped in\n' "$most_mebibytes" >&2
    exit 1
fi
