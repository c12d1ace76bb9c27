"""The `dfast` command: a file per command, its options beside its body.

Importing this package imports no torch; each command imports what it needs when it runs.
"""

from dfast.cli.main import main

__all__ = ["main"]
