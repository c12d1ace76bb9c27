"""`dfast priors`, `dfast config` and `dfast doctor`."""

from __future__ import annotations

from argparse import Namespace

from dfast.cli.options import settings, unsaid


def priors(options: Namespace) -> int:
    """List the catalogue of diffusion models: sizes, terms, and which are on this machine."""
    from dfast.priors.loading.catalog import CATALOG
    from dfast.priors.loading.hub import cached, whole

    print("shapes  embedded; knows only its own small world")
    for entry in CATALOG.values():
        here = f"{entry.gigabytes:g} GB to fetch"
        if cached(entry.hub):
            here = "on this machine" if whole(entry.hub) else "in part on this machine"
        print(f"{entry.alias:7} {entry.about} ({entry.license}{', gated' * entry.gated}; {here})")
        print(f"        {entry.url}")
    print("or a diffusers folder of these families, or owner/name on the hub")
    return 0


def config(options: Namespace) -> int:
    """Print the settings as TOML."""
    made = settings(options) or unsaid(options)
    if options.steps is not None:
        made = made.replace(train={"steps": options.steps})
    print(made.dumps(), end="")
    return 0


def doctor(options: Namespace) -> int:
    """Print what is installed and what is missing; 1 when training cannot work."""
    from dfast.cli.doctor import examine, ready, report

    findings = examine()
    print(report(findings))
    return 0 if ready(findings) else 1
