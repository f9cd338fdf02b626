"""The ``d2`` command: train, evaluate, predict, and show the environment."""

from d2_engine.cli.command import main

__all__ = ["main"]
