"""Tables: module of detectron2, fvcore or iopath → where its names are in d2.

A face stands for all names that it lists. What is named singly has another name or another home
here; what begins with a dot is a module of ``d2_engine.compat`` that bridges a difference, which
its docstring gives.
"""
