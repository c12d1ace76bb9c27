"""The `dfast` command and `python -m dfast`: the command line, which ends in one line on Ctrl-C."""

import gc
import sys


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit code, see `dfast.cli.main`; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    try:
        from dfast.cli.signals import end_on_signals

        end_on_signals()
        from dfast.cli import main as run
        from dfast.cli.output import escape_unprintable

        escape_unprintable()
        return run()
    except KeyboardInterrupt:  # before or beside the handlers
        print("dfast: interrupted", file=sys.stderr)
        return 130
    finally:
        gc.freeze()  # the interpreter ends sooner where it need not look for cycles among torch


if __name__ == "__main__":
    sys.exit(main())
