"""`dfast bench`: time every operator and whole training steps."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from dfast.config.overrides import changed
from dfast.errors import ConfigError


def bench(options: Namespace) -> int:
    """Measure this machine and print the table; 1 when a case of dfast's own failed."""
    out = Path(options.out) if options.out else None
    if out is not None and out.is_dir():
        raise ConfigError(f"--out: expected a file to write, got the folder '{out}'")
    models = options.prior is not None
    others = ("workloads", "profile") if models else ("random", "steps", "set")
    if given := [name for name in others if getattr(options, name)]:
        raise ConfigError(f"--{given[0]}: expected {'no' if models else 'with'} --prior")
    if models:
        return _bench_priors(options, out)
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
        pick_device(options.device), letters, quick=options.quick, out=out, profile=folder,
        say=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    print(report.heading(records))
    print(report.table(records))
    return int(any("error" in r and str(r["variant"]).startswith("dfast") for r in records))


def _bench_priors(options: Namespace, out: Path | None) -> int:
    """Measure whole steps with diffusion models; 1 when one failed."""
    from dfast._device import pick_device
    from dfast._native import library
    from dfast.bench import prior_steps as guidance

    library()
    steps = 100 if options.steps is None else options.steps
    if steps < 1:
        raise ConfigError(f"--steps: expected a whole number >= 1, got {steps}")
    records = guidance.run(
        [name.strip() for name in options.prior.split(",")],
        pick_device(options.device),
        settings=lambda made: changed(made, options.set),
        steps=steps,
        random=options.random,
        tiny=options.quick,
        out=out,
        say=lambda line: print(line, file=sys.stderr),
    )
    print(guidance.table(records))
    return int(any("error" in record for record in records))
