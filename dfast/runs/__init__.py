"""A whole run: `train`, and its arguments, folder, result, events and estimate.

Importing the package imports nothing of it, so that the command line can read a run folder without
torch. `dfast.train` and `dfast.estimate` are the functions of the modules `train` and `estimate`.
"""
