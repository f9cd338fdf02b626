"""``python -m d2_engine.compat script.py …``, or ``-m package.module …``."""

import sys

from d2_engine.compat.script import run_module, run_script

_USAGE = """usage: python -m d2_engine.compat SCRIPT [ARGUMENT ...]
       python -m d2_engine.compat -m MODULE [ARGUMENT ...]

Runs a Python script or module that was written for detectron2; its imports are answered by d2."""


def main() -> int:
    """Run what the command line names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2
    if arguments[0] == "-m" and len(arguments) > 1:
        sys.argv = arguments[1:]
        run_module(arguments[1])
    elif arguments[0].startswith("-"):
        print(f"{_USAGE}\n\nunknown option {arguments[0]}", file=sys.stderr)
        return 2
    else:
        sys.argv = arguments
        run_script(arguments[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
