"""The tables of DreamFusion (Poole et al. 2022) again: runs of several arms, scored alike.

An arm is a method, or a method with some of its settings off. `dfast.reproduce` is the function of
the module `reproduce`.
"""
