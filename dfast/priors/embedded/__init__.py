"""The prior in the package: a small diffusion model of the procedural world.

Its network, weights, training and measurement live here.
"""
