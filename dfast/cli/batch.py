"""`dfast batch`: a table of runs over this machine or a Ray cluster."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from dfast.cli.checks import check_run
from dfast.cli.importing import import_runs
from dfast.cli.options import Commands, UsageError, add_settings, prior_name, read_config
from dfast.cli.output import say
from dfast.cli.signals import exit_code, interrupted

if TYPE_CHECKING:
    from dfast.batches.batch import Batch
    from dfast.config import Config

FAILED = 1
"""Exit code: some run failed."""


def add_batch(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    p = commands.add_parser("batch", help="many runs, on this machine or a Ray cluster")
    p.set_defaults(run=batch)
    p.add_argument(
        "table",
        metavar="PROMPTS",
        help="a prompt a line; or .csv or .jsonl with the columns prompt, seed, name and any "
        "setting, such as guidance.scale",
    )
    p.add_argument("--out", required=True, metavar="DIR", help="a folder a run, table and summary")
    p.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or tasks of Ray (default: %(default)s)",
    )
    p.add_argument(
        "--address",
        help="of a Ray cluster, auto or HOST:6379 (default: RAY_ADDRESS; else Ray starts here)",
    )
    p.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: what fits)")
    p.add_argument("--threads", type=int, metavar="N", help="of each run, on its CPU")
    p.add_argument(
        "--gpus-per-run",
        type=float,
        metavar="X",
        help="such as 0.25; 0 for the CPU (default: 1 where there are GPUs)",
    )
    p.add_argument(
        "--retries",
        type=int,
        default=2,
        metavar="N",
        help="how often a run is started again that crashed (default: %(default)s)",
    )
    p.add_argument("--only", choices=("failed",), help="make only the runs that failed before")
    p.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="rows without a seed: seeds 0..N-1 (default: 1)",
    )
    p.add_argument("--negative", metavar="TEXT", help="what the objects should not look like")
    p.add_argument("--download", action="store_true", help="fetch the prior if it is not there")
    p.add_argument("--no-export", action="store_true", help="no meshes, pictures and reports")
    p.add_argument("--score", action="store_true", help="score against the procedural world")
    p.add_argument(
        "--take-over",
        action="store_true",
        help="drop the locks that other machines left in DIR; only when nothing runs there",
    )
    p.add_argument(
        "--dry-run", action="store_true", help="print the table and an estimate, start nothing"
    )
    p.add_argument("--quiet", action="store_true", help="do not show how it proceeds")
    add_settings(p)


def batch(options: Namespace) -> int:
    """Make the runs of a table; return 1 if some failed."""
    from dfast.batches.plan import Resources
    from dfast.batches.table import read_table

    prior = prior_name(options)
    resources = Resources(
        options.engine,
        options.address,
        options.jobs,
        options.threads,
        options.gpus_per_run,
        options.retries,
        options.device,
    )
    check_run(options, runs_here=options.engine == "local")
    if options.dry_run and options.download:
        raise UsageError("--dry-run: expected without --download, since it fetches nothing")
    rows = read_table(options.table, prior=prior, seeds=options.seeds)
    import_runs()
    from dfast.batches.batch import make

    def settings(device: str) -> Config:
        options.device = device
        return read_config(options)

    try:
        found = make(
            rows,
            options.out,
            resources,
            settings,
            common={
                "prior": prior,
                "download": options.download,
                "export": not options.no_export,
                "score": options.score,
            },
            only=options.only,
            take_over=options.take_over,
            dry_run=options.dry_run,
            progress=not options.quiet,
        )
    except (KeyboardInterrupt, SystemExit) as stopped:
        interrupted("the same command goes on")
        return exit_code(stopped)
    _print(found, dry_run=options.dry_run)
    return FAILED if found.failed and not options.dry_run else 0


def _print(found: Batch, *, dry_run: bool) -> None:
    """Print the rows of a dry run, or where the summary is."""
    from dfast.batches.summary import PAGE

    if dry_run:
        for row in found.rows:
            settings = "".join(f", {key}={value}" for key, value in row.settings.items())
            what = f"{row.prompt!r}, seed {row.seed}, {row.steps} steps{settings}"
            say(f"{row.name}: {row.state}, {what}")
        say(str(found.estimate) if found.estimate is not None else found.note)
        return
    for row in found.failed:
        say(f"{row.name}: failed: {row.error}")
    say(f"{found.folder / PAGE}")
