"""Pickles of the kinds that are read, mutated operation by operation."""
