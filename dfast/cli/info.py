"""`dfast config` and `dfast priors`: settings and diffusion models."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from dfast.cli.checks import check_run
from dfast.cli.options import Commands, add_method, add_settings, read_config
from dfast.config.describe import commented


def add_config(commands: Commands[Any]) -> None:
    """Add the command `config` and its options."""
    p = commands.add_parser("config", help="print the settings, to edit and pass to --config")
    p.set_defaults(run=config)
    add_method(p)
    add_settings(p)


def add_priors(commands: Commands[Any]) -> None:
    """Add the command `priors`."""
    p = commands.add_parser("priors", help="the diffusion models: sizes, licences, what is here")
    p.set_defaults(run=priors)


def config(options: Namespace) -> int:
    """Print the settings as TOML, each with its meaning, unit and range as a comment."""
    check_run(options, runs_here=False)
    print(commented(read_config(options)), end="")
    return 0


def priors(options: Namespace) -> int:
    """List the catalogue of diffusion models: sizes, terms, and which are on this machine."""
    from dfast.priors.loading.catalog import CATALOG
    from dfast.priors.loading.hub import cached_snapshot, is_complete

    width = max(map(len, CATALOG))
    print(f"{'shapes':{width}} embedded; knows the things that `dfast words` lists")
    for entry in CATALOG.values():
        here = f"{entry.gigabytes:g} GB to fetch"
        if cached_snapshot(entry.hub):
            here = "on this machine" if is_complete(entry.hub) else "in part on this machine"
        terms = f"{entry.license}{', gated' * entry.gated}"
        print(f"{entry.alias:{width}} {entry.about} ({terms}; {here})")
        print(f"{'':{width}} {entry.url}")
    print("or a diffusers folder of these families, or owner/name on the hub")
    return 0
