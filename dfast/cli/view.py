"""`dfast view`, and the page of `dfast train --view`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast.cli.checks import check_device, check_finished
from dfast.cli.options import Commands, UsageError, add_device, add_finished_run
from dfast.viewer.address import HOST, PORT, check_address

if TYPE_CHECKING:
    from dfast.runs.refined import Refined
    from dfast.runs.result import Result
    from dfast.viewer.live import Viewer


def add_view(commands: Commands[Any]) -> None:
    """Add the command `view` and its options."""
    p = commands.add_parser("view", help="a finished run in a browser")
    p.set_defaults(run=view)
    add_finished_run(p)
    add_address(p)
    add_device(p, "cpu")


def add_address(parser: ArgumentParser) -> None:
    """Add --host and --port."""
    parser.add_argument(
        "--host", help=f"address to serve the page on; others can stop the run (default: {HOST})"
    )
    parser.add_argument("--port", type=int, help=f"0 takes any that is free (default: {PORT})")


def view(options: Namespace) -> int:
    """Show a finished run until Ctrl-C."""
    check_device(options.device)
    check_address(*_address(options))
    check_finished(options.path)
    import dfast
    from dfast._device import pick_device
    from dfast.viewer.live import Viewer

    result = dfast.load(options.path, str(pick_device(options.device)))
    path = user_path(options.path)
    with Viewer(*_address(options)) as page:
        show(page, result, path if path.is_dir() else path.parent, with_history=True)
    return 0


def check_view_options(options: Namespace) -> None:
    """Raise for options of `dfast train --view` that cannot be used, before torch loads.

    Args:
        options: the parsed command line.

    Raises:
        UsageError: options that do not go together.
        ConfigError: the page cannot be served.
    """
    if options.view and options.dry_run:
        raise UsageError("--view: expected without --dry-run, which makes nothing to see")
    for name in ("host", "port"):
        if getattr(options, name) is not None and not options.view:
            raise UsageError(f"--{name}: expected with --view, whose page it places")
    if options.view:
        check_address(*_address(options))


@contextmanager
def page(options: Namespace) -> Iterator[Viewer | None]:
    """Serve the page of `dfast train --view` during the block.

    Args:
        options: the parsed command line.

    Yields:
        What shows the run; None without --view.
    """
    if not options.view:
        yield None
        return
    from dfast.viewer.live import Viewer

    with Viewer(*_address(options)) as found:
        yield found


def show(
    viewer: Viewer, result: Result | Refined, folder: Path, *, with_history: bool = False
) -> None:
    """Show an object until Ctrl-C.

    Args:
        viewer: the page.
        result: the object.
        folder: of its run.
        with_history: read the curves from the folder.
    """
    from dfast.runs.records import read_metrics
    from dfast.runs.unfinished import METRICS

    viewer.show(result, read_metrics(folder / METRICS) if with_history else ())


def _address(options: Namespace) -> tuple[str, int]:
    """Return host and port of the page."""
    host = HOST if options.host is None else options.host
    return host, PORT if options.port is None else options.port
