"""The process and the machine that dfast runs in: processors it may use, OpenMP's threads.

Importing this package imports no torch.
"""
