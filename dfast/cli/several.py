"""`dfast train --prompts FILE` and `--particles K`: make several objects side by side."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfast._files import user_path
from dfast.cli.checks import check_prompt, check_run, numbered_lines
from dfast.cli.exporting import export
from dfast.cli.importing import import_runs
from dfast.cli.options import UsageError, gives_settings, prior_name, read_config
from dfast.cli.output import say
from dfast.cli.signals import exit_code, hinting, interrupted
from dfast.config import Config
from dfast.config.methods import guided_by
from dfast.errors import PromptError, RunsFailedError
from dfast.host.torchrun import is_first_process, is_started_by_torchrun, processes
from dfast.runs.names import run_name
from dfast.runs.unfinished import RESULT

if TYPE_CHECKING:
    from dfast.runs.plan import AtOnce
    from dfast.runs.result import Result

PARTICLES = "particles.json"
"""Name of the file that says how different particles are."""
AT_ONCE = 8
"""Objects of a file of prompts side by side, where nothing else is asked for."""
FAILED = 1
"""Exit code where some runs failed."""


def train_several(options: Namespace) -> int:
    """Make all objects, then write their meshes and images; return the exit code.

    Args:
        options: of `dfast train`.

    Raises:
        DfastError: for arguments that cannot be used, before anything is written.
    """
    _refuse("--prompts", options, ("prompt", "view", "particles"), "prompt")
    _check_at_once(options)
    check_run(options, None)
    prompts = read_prompts(options.prompts, prior_name(options))
    out = user_path(options.out) if options.out else Path("runs")
    if options.dry_run:
        return print_estimate(options, prompts)
    return _make(options, prompts, out)


def train_particles(options: Namespace) -> int:
    """Make objects of one prompt, then write their meshes and images; return the exit code.

    Args:
        options: of `dfast train`.

    Raises:
        DfastError: for arguments that cannot be used, before anything is written.
    """
    _refuse("--particles", options, ("view",), "object")
    if options.prompt is None:
        raise UsageError("--particles: expected a prompt, also with --resume")
    if options.at_once is not None:
        raise UsageError("--at-once: expected without --particles, which step together; see --fit")
    check_run(options, None)
    check_prompt(options.prompt, prior_name(options))
    if options.dry_run:
        return print_estimate(options, options.prompt)
    name = run_name(options.prompt, prior_name(options))
    out = user_path(options.out) if options.out else Path("runs") / f"{name}-particles"
    return _make(options, options.prompt, out)


def _refuse(command: str, options: Namespace, names: tuple[str, ...], what: str) -> None:
    """Raise UsageError for options that are for one object, for --best-of, and under torchrun."""
    if is_started_by_torchrun():
        raise UsageError(
            f"{command}: expected without torchrun, whose processes make one object; for many see "
            "`dfast batch`"
        )
    given = [_flag(name) for name in names if getattr(options, name)]
    if options.best_of != 1:
        given.append("--best-of")
    if given:
        raise UsageError(f"{command}: expected without {given[0]}, which is for one {what}")


def _check_at_once(options: Namespace) -> None:
    """Raise UsageError for a number side by side that cannot be."""
    if options.at_once is not None and options.fit:
        raise UsageError("--fit: expected without --at-once, which it chooses")
    if options.at_once is not None and options.at_once < 1:
        raise UsageError(f"--at-once: expected at least 1, got {options.at_once}")


def _at_once(options: Namespace, what: str | list[str]) -> AtOnce:
    """Return how many objects are made side by side: `at_once` of `dfast.train`."""
    if options.fit:
        return "fit"
    return None if isinstance(what, str) else options.at_once or AT_ONCE


def _make(options: Namespace, what: str | list[str], out: Path) -> int:
    """Make the objects of some prompts, or the particles of one; return the exit code."""
    config = read_config(options) if gives_settings(options) else None
    again = f"go on with the same command and --resume: the runs are in '{out}'"
    try:
        with hinting(again):
            import_runs()
            return _train(options, what, config, out)
    except (KeyboardInterrupt, SystemExit) as stopped:
        interrupted(again)
        return exit_code(stopped)


def read_prompts(path: str, prior: str) -> list[str]:
    """Return the prompts of a file, one a line; # begins a comment, empty lines are left out.

    Args:
        path: the file.
        prior: name of the prior that has to know them.

    Raises:
        ConfigError: the file cannot be read, or holds none.
        PromptError: it holds one that the prior does not know, or one twice.
    """
    found: dict[str, int] = {}
    for number, line in numbered_lines(path, "--prompts", "prompt"):
        try:
            check_prompt(line, prior)
        except PromptError as error:
            raise PromptError(f"'{path}', line {number}: {error}") from None
        if line in found:
            raise PromptError(
                f"'{path}', line {number}: \"{line}\" stands in line {found[line]}, too; several "
                "objects of one prompt are made by --particles and `dfast batch --seeds`"
            )
        found[line] = number
    return list(found)


def _train(options: Namespace, what: str | list[str], config: Config | None, out: Path) -> int:
    """Make the objects, and write the files of each when it is done; return the exit code."""
    import dfast

    written: list[Result] = []

    def write(result: Result) -> None:
        assert result.folder is not None
        written.append(result)
        say(f"{result.folder}/{RESULT}")
        if not options.no_export:
            export(result, result.folder)

    errors = {}
    seed = options.seed or 0
    shared: dict[str, Any] = {
        "method": options.method,
        "clip": options.clip,
        "prior": prior_name(options),
        "download": options.download,
        "out": out,
        "steps": options.steps,
        "device": options.device,
        "config": config,
        "progress": not options.quiet,
        "resume": options.resume,
        "on_result": write,
    }
    try:
        results: list[Result]
        if isinstance(what, str):
            particles = dfast.train(
                what,
                particles=options.particles,
                seed=seed,
                at_once=_at_once(options, what),
                **shared,
            )
            results = particles
            if particles.diversity is not None:
                say(f"{out}/{PARTICLES}")
        else:
            results = dfast.train(what, seed=seed, at_once=_at_once(options, what), **shared)
    except RunsFailedError as failure:
        results, errors = [r for r in failure.results if r is not None], failure.errors
    for result in results:
        if not any(result is one for one in written):  # it was finished before
            write(result)
    for index, error in errors.items():
        failed = what if isinstance(what, str) else what[index]
        say(f'failed: "{failed}": {error}')
    return FAILED if errors else 0


def print_estimate(options: Namespace, what: str | list[str], config: Config | None = None) -> int:
    """Print what the runs would take; return the exit code.

    Args:
        options: of `dfast train`.
        what: a prompt, or several.
        config: the settings, where they were read before.

    Raises:
        UsageError: beside options that an estimate has no use for.
    """
    check_dry_run(options)
    if config is None and gives_settings(options):
        config = read_config(options)
    import dfast
    from dfast.runs.group import device_of_rank

    single = isinstance(what, str) and options.particles is None
    found = dfast.estimate(
        what,
        prior=prior_name(options),
        device=device_of_rank(options.device) if is_started_by_torchrun() else options.device,
        config=config,
        steps=options.steps,
        best_of=options.best_of,
        particles=options.particles,
        at_once=None if single else _at_once(options, what),
        ranks=processes() if single else 1,
        export=not options.no_export,
    )
    if is_first_process():
        say(str(found))
    return 0


def check_dry_run(options: Namespace) -> None:
    """Raise UsageError for options that an estimate has no use for."""
    if options.clip:
        raise UsageError("--dry-run: expected without --clip, since it estimates what priors guide")
    if guided_by(options.method, "clip"):
        raise UsageError(
            f"--dry-run: expected without --method {options.method}, since it estimates what "
            "priors guide"
        )
    if options.download:
        raise UsageError("--dry-run: expected without --download, since it fetches nothing")


def _flag(name: str) -> str:
    """Return what the user typed for an option."""
    return "a prompt" if name == "prompt" else "--" + name.replace("_", "-")
