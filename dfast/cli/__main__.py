"""Run the command line as `python -m dfast.cli`."""

import sys

from dfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
