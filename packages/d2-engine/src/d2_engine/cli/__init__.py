"""The ``d2`` command: train, evaluate, predict, list models, and show the environment."""

from d2_engine.cli.command import main

__all__ = ["main"]
