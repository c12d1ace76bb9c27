"""`dfast.batch`: a table of runs, from its arguments to its summary."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfast._numbers import amount, shown
from dfast.batches.driver import Driver
from dfast.batches.forecast import BatchEstimate, forecast
from dfast.batches.job import Job, one_line
from dfast.batches.live import LiveTable, counted
from dfast.batches.locks import drop_foreign_lock
from dfast.batches.plan import Place, Resources, jobs_of
from dfast.batches.state import Status, check_same, flat, look, read_states
from dfast.batches.table import Cells, Row, read_table
from dfast.config import Config
from dfast.errors import ConfigError, DfastError, RunFolderError
from dfast.runs.lock import FolderLock
from dfast.runs.notices import notice
from dfast.runs.paths import as_path
from dfast.runs.records import ABOUT
from dfast.runs.signals import stop_on_signals, stopped_by


@dataclass(frozen=True)
class Batch:
    """What became of a table of runs."""

    folder: Path
    """The folder of the batch."""
    rows: tuple[Status, ...]
    """All rows of the table."""
    estimate: BatchEstimate | None = None
    """What the runs that are left would take, of a dry run."""
    note: str = ""
    """Why there is no estimate, of a dry run."""

    @property
    def failed(self) -> tuple[Status, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.state == "failed")


def batch(
    runs: str | Path | Sequence[Cells],
    out: str | Path,
    *,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    gpus_per_run: float | None = None,
    retries: int = 2,
    only: Literal["failed"] | None = None,
    seeds: int = 1,
    prior: str = "shapes",
    download: bool = False,
    steps: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
    config: Config | Mapping[str, Any] | None = None,
    export: bool = True,
    score: bool = False,
    take_over: bool = False,
    dry_run: bool = False,
    progress: bool = True,
) -> Batch:
    """Make the objects of a table, each as `dfast.train` makes it, on one machine or a cluster.

    What is finished in `out` is not made again, and what was begun is resumed, whatever ended an
    earlier call. A row that fails stops no other. On the CPU the bytes of a run depend on its row
    alone. In the main thread Ctrl-C, SIGTERM and SIGHUP have all runs save and end, and raise.

    Args:
        runs: a .csv or .jsonl file, a text file with a prompt a line, or mappings; see
            `dfast.batches.table`.
        out: folder of the batch: a folder for each run, logs, table and summary.
        engine: "local" for processes of this machine, "ray" for a Ray cluster, which must see `out`
            under the same path everywhere.
        address: of the Ray cluster; None takes RAY_ADDRESS or starts a Ray on this machine.
        jobs: runs at once; None takes what processors or GPUs allow.
        threads: of each run on its CPU; None shares the processors of this machine among its runs,
            and is 1 on Ray.
        gpus_per_run: GPUs of a run, such as 0.25; 0 is the CPU; None takes one where there is any.
        retries: how often a run is started again whose process or worker was lost.
        only: "failed" makes only the runs that failed before.
        seeds: rows without a seed are made with the seeds 0 to `seeds` - 1.
        prior: name of the diffusion model, see `dfast.train`.
        download: fetch it if it is not there.
        steps: length of each run, if not the configuration's.
        device: "cpu" or "cuda"; None takes a GPU where there is one.
        config: settings of all runs, as of `dfast.train`; a row changes some.
        export: write mesh, pictures and report of each run.
        score: score each object against the procedural world.
        take_over: drop the locks that processes on other machines left in `out`, of which nobody
            here can say that they have ended; only when they have.
        dry_run: read and check everything, estimate what it takes, write and start nothing.
        progress: show on stderr how it proceeds.

    Returns:
        All rows with their states; some may have failed.

    Raises:
        ConfigError: an argument or a row that cannot be used.
        RunFolderError: `out` is in use by another process, or holds other runs.
        DeviceError: a device that is not there. These are raised before anything is started.
        KeyboardInterrupt: after Ctrl-C.
        Terminated: a SystemExit of `dfast.runs.signals`, after SIGTERM or SIGHUP.
    """

    def settings(where: str) -> Config:
        from dfast.runs.arguments import resolve_config

        return resolve_config(prior, where, config=config, steps=steps, download=download)

    return make(
        read_table(runs, prior=prior, seeds=seeds),
        out,
        Resources(engine, address, jobs, threads, gpus_per_run, retries, device),
        settings,
        common={"prior": prior, "download": download, "export": export, "score": score},
        only=only,
        take_over=take_over,
        dry_run=dry_run,
        progress=progress,
    )


def make(
    rows: Sequence[Row],
    out: str | Path,
    resources: Resources,
    settings: Callable[[str], Config],
    *,
    common: dict[str, Any],
    only: str | None = None,
    take_over: bool = False,
    dry_run: bool = False,
    progress: bool = True,
) -> Batch:
    """Make the runs of a table that was read; see `batch`.

    Args:
        rows: the table.
        out: folder of the batch.
        resources: where the runs go.
        settings: returns the settings of all runs on a device, "cpu" or "cuda".
        common: fields of every `Job`: `prior`, `download`, `export`, `score`.
        only: "failed" or None.
        take_over: drop the locks that processes on other machines left.
        dry_run: write and start nothing.
        progress: show on stderr how it proceeds.
    """
    if only not in (None, "failed"):
        raise ConfigError(f"only: expected 'failed' or None, got {shown(only)}")
    folder = as_path(out, "out").absolute()
    if (folder / ABOUT).exists():
        raise RunFolderError(f"out: expected a folder for many runs, '{folder}' is one run's")
    if common["prior"] != "shapes" and os.path.isdir(common["prior"]):
        common = common | {"prior": os.path.abspath(common["prior"])}  # a worker is elsewhere
    with ExitStack() as stack:
        if not dry_run:
            lock = FolderLock(folder)
            _make_folder(folder)
            if take_over:
                for each in (folder, *(folder / row.name for row in rows)):
                    drop_foreign_lock(each)
            stack.callback(lock.release)
            lock.acquire()
        place = resources.open(len(rows))
        stack.callback(place.engine.close)
        jobs = jobs_of(rows, folder, place, settings(place.device), **common)
        table = _table(rows, jobs, folder)
        if dry_run:
            return Batch(
                folder, tuple(table), *_estimated(table, jobs, place, resources.retries, only)
            )
        todo = []
        for row, job in zip(table, jobs, strict=True):
            if row.state != "done" and (only is None or row.state == only):
                row.state, row.error = "waiting", ""
                todo.append(job)
        live = LiveTable(table, jobs) if progress else None
        if live is not None:
            stack.callback(live.close)
            notice(
                f"{counted(table)}; {place.at_once} at once, {place.device}, "
                f"{amount(place.threads, 'thread')} each, into '{folder}'"
            )
        driver = Driver(folder, table, retries=resources.retries, live=live)
        with stop_on_signals() as request:
            driver.run(place.engine, place.at_once, todo, request)
        if request.number is not None:
            if progress:
                notice(f"{counted(table)}: {_named(table)}")
            raise stopped_by(request.number, folder)
    return Batch(folder, tuple(table))


def _estimated(
    table: Sequence[Status], jobs: Sequence[Job], place: Place, retries: int, only: str | None
) -> tuple[BatchEstimate | None, str]:
    """Return what the runs that are left would take, or why that is not known."""
    both = zip(table, jobs, strict=True)
    left = [(r, j) for r, j in both if r.state != "done" and only in (None, r.state)]
    if not left:
        return None, "no estimate: nothing is left to make"
    try:
        return forecast(left, place.room, place.devices, retries), ""
    except DfastError as error:
        return None, f"no estimate: {one_line(error)}"


def _make_folder(folder: Path) -> None:
    """Make the folder of a batch."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise RunFolderError(f"out: expected a folder, got the file '{folder}'") from None
    except OSError as error:
        raise RunFolderError(
            f"out: '{folder}' cannot be made ({error.strerror or error})"
        ) from error


def _table(rows: Sequence[Row], jobs: Sequence[Job], folder: Path) -> list[Status]:
    """Return the table as the folders and the last driver left it."""
    before = read_states(folder)
    table = []
    for row, job in zip(rows, jobs, strict=True):
        check_same(row.where, job)
        status = Status(row.name, job.prompt, row.seed, flat(row.settings))
        if (known := before.get(row.name)) is not None:
            status.state, status.error, status.seconds = known.state, known.error, known.seconds
        status.steps = job.config["train"]["steps"]
        look(status, job)
        table.append(status)
    return table


def _named(table: Sequence[Status], most: int = 10) -> str:
    """Return the names of the runs that are left, as text."""
    left = [row.name for row in table if row.state == "waiting"]
    more = f" and {len(left) - most} others" if len(left) > most else ""
    return ", ".join(left[:most]) + more
