"""Importing this module makes ``detectron2``, and used parts of fvcore and iopath, importable.

::

    import d2_engine.compat.detectron2  # once, before anything that imports detectron2
    from detectron2.engine import DefaultTrainer
"""

from d2_engine.compat.finder import install

install()
