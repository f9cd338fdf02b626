"""``python -m d2_engine`` is ``d2``: for ``torchrun -m d2_engine train …``."""

from d2_engine.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
