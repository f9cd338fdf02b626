"""``python -m d2_ops``: print what this build is and what it loaded."""

from __future__ import annotations

from ._build_info import build_info


def main() -> None:
    for key, value in build_info().items():
        print(f"{key + ':':<22}{value if value is not None else '—'}")


if __name__ == "__main__":
    main()
