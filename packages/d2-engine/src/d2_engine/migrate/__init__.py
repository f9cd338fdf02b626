"""Rewrite code that names detectron2, fvcore and iopath to d2's names: ``d2 migrate PATH``.

Needs the extra ``d2-engine[migrate]``.
"""

from d2_engine.migrate.findings import Finding, Migrated
from d2_engine.migrate.tree import migrate_file, migrate_tree

__all__ = ["Finding", "Migrated", "migrate_file", "migrate_tree"]
