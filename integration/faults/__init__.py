"""Faults of the machine: what becomes of a run that is killed, or whose disk fills or errs."""
