"""Bridges for what detectron2's callers expect and d2 does in another way; each says why.

Nothing of d2 uses them.
"""
