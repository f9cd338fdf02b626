#!/usr/bin/env bash
# install.sh FOLDER: puts the packed wheels there, if they are for this Python, and says what is
# still missing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
if [[ -d $here/pack ]] && "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))'; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --root-user-action=ignore \
        --target "$1" "$here"/pack/*.whl
fi
"$python" "$here/requirements.py" --missing
