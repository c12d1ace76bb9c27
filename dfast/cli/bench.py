"""`dfast bench`: time every operator and whole training steps."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from dfast._files import user_path
from dfast.cli.checks import check_device
from dfast.cli.options import Commands, UsageError, add_device, add_overrides, read_overrides
from dfast.config import Config
from dfast.config.checks import check_steps
from dfast.errors import ConfigError
from dfast.host.torchrun import is_first_process, is_started_by_torchrun

STEPS, ROUNDS = 100, 3
"""Steps timed with --prior and rounds with --against, unless --steps and --rounds say otherwise."""


def add_bench(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    p = commands.add_parser("bench", help="how fast every part is on this machine")
    p.set_defaults(run=bench)
    add_device(p)
    p.add_argument(
        "--workloads",
        metavar="LIST",
        help="A hash grid, B marching, C compositing, D field, E whole step, F a prior's networks, "
        "G images of meshes (default: all)",
    )
    p.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    p.add_argument(
        "--prior",
        metavar="LIST",
        help="whole steps with these diffusion models instead, such as sd15,if-m",
    )
    p.add_argument(
        "--random",
        action="store_true",
        help="of the same sizes as --prior, with random weights: nothing is fetched",
    )
    p.add_argument(
        "--at-once",
        metavar="LIST",
        help="with --prior: steps of several objects side by side instead, such as 1,2,4,8",
    )
    p.add_argument("--steps", type=int, help=f"with --prior (default: {STEPS})")
    add_overrides(
        p, "with --prior: change one setting, such as prior.compile=true (may be repeated)"
    )
    p.add_argument(
        "--against",
        metavar="BUILD",
        help="another dfast, a virtual environment or a folder with a built dfast/: both in turn, "
        "and the ratios of their times",
    )
    p.add_argument("--rounds", type=int, help=f"with --against (default: {ROUNDS})")
    p.add_argument("--out", metavar="FILE", help="write every measurement as JSON")
    p.add_argument("--profile", metavar="DIR", help="a Chrome trace of each case, stages named")


def bench(options: Namespace) -> int:
    """Measure this machine and print the table; 1 when a case of dfast's own failed."""
    out = user_path(options.out) if options.out else None
    if out is not None and out.is_dir():
        raise ConfigError(f"--out: expected a file to write, got the folder '{out}'")
    check_device(options.device)
    _check_together(options)
    if options.against is not None:
        return _bench_builds(options, out)
    return _bench_ops(options, out) if options.prior is None else _bench_priors(options, out)


def _check_together(options: Namespace) -> None:
    """Raise UsageError for options that do not go together."""
    for main, needed, excluded in (
        ("against", ("rounds",), ("prior", "profile")),
        ("prior", ("random", "at_once", "steps", "set"), ("workloads", "profile")),
    ):
        given = getattr(options, main) is not None
        for name in excluded if given else needed:
            if getattr(options, name) not in (None, False, []):
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag}: expected {'no' if given else 'with'} --{main}")
    if is_started_by_torchrun() and (options.prior is None or options.at_once is not None):
        what = "--prior" if options.prior is None else "no --at-once"
        raise UsageError(f"torchrun: expected {what}, to measure one object of several processes")


def _bench_ops(options: Namespace, out: Path | None) -> int:
    """Measure the operators and whole steps with the embedded prior."""
    from dfast.bench.suite import parse_letters

    # torch's profiler would announce each trace on stderr; it asks when torch is imported.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    letters = parse_letters(options.workloads)
    folder = Path(options.profile) if options.profile else None
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConfigError(f"--profile: expected a folder, got the file '{folder}'")

    from dfast._device import pick_device
    from dfast._native import library
    from dfast.bench import report, runner

    library()
    records = runner.run(
        pick_device(options.device),
        letters,
        quick=options.quick,
        out=out,
        profile=folder,
        say=_print_progress,
    )
    print(report.heading(records))
    print(report.table(records))
    return int(any("error" in r and str(r["variant"]).startswith("dfast") for r in records))


def _bench_builds(options: Namespace, out: Path | None) -> int:
    """Measure another build and this one in turn; 1 when a case of this one's own failed."""
    from dfast.bench import builds
    from dfast.bench.suite import parse_letters

    letters = parse_letters(options.workloads)
    rounds = check_steps(ROUNDS if options.rounds is None else options.rounds, "--rounds")
    pair = (builds.other_build(options.against), builds.this_build())

    from dfast._device import pick_device
    from dfast._native import library
    from dfast.bench import versus

    library()
    arguments = ["--device", str(pick_device(options.device))]
    if options.workloads is not None:
        arguments += ["--workloads", ",".join(letters)]
    if options.quick:
        arguments.append("--quick")
    result = versus.run(pair, arguments, rounds=rounds, out=out, say=_print_progress)
    print(versus.table(result))
    return int(any("new_error" in c and c["variant"].startswith("dfast") for c in result["cases"]))


def _bench_priors(options: Namespace, out: Path | None) -> int:
    """Measure whole steps with diffusion models; 1 when one failed."""
    steps = STEPS if options.steps is None else options.steps
    check_steps(steps, "--steps")
    overrides = read_overrides(options)
    for changes in overrides:
        Config().replace(**changes)  # names a wrong setting at once

    names = [name.strip() for name in options.prior.split(",")]

    from dfast._device import pick_device
    from dfast._native import library
    from dfast.bench.priors import Options
    from dfast.runs.arguments import resolve_config
    from dfast.runs.group import device_of_rank

    library()
    shared = is_started_by_torchrun()
    how = Options(
        pick_device(device_of_rank(options.device) if shared else options.device),
        settings=lambda config: resolve_config(config=config, overrides=overrides),
        steps=steps,
        random=options.random,
        tiny=options.quick,
        out=out,
        say=_print_progress,
    )
    if shared:
        from dfast.bench import over_ranks

        records = over_ranks.run(names, how)
        if is_first_process():
            print(over_ranks.table(records))
        return 0
    if options.at_once is not None:
        from dfast.bench import at_once

        records = at_once.run(names, at_once.parse_counts(options.at_once), how)
        print(at_once.table(records))
    else:
        from dfast.bench import prior_steps

        records = prior_steps.run(names, how)
        print(prior_steps.table(records))
    return int(any("error" in record for record in records))


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr)
