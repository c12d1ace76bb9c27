"""From the options of a batch to the place where its runs go, and to the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfast._numbers import real, shown, whole
from dfast.batches.engine import Engine, LocalEngine, visible_gpus
from dfast.batches.job import Job
from dfast.batches.table import Row
from dfast.config import Config
from dfast.config.methods import METHODS
from dfast.errors import ConfigError, DfastError
from dfast.host.cpus import usable_cpus
from dfast.world.reading import read as read_sentence

MOST = 4096
"""Runs at once, threads and retries, at most."""


@dataclass(frozen=True)
class Place:
    """Where the runs of a batch go."""

    engine: Engine
    device: Literal["cpu", "cuda"]
    threads: int
    """Of each run."""
    at_once: int
    """Runs that are given to the engine at once."""
    room: int
    """Runs that there is room for at once."""
    devices: int
    """GPUs that they share, or machines whose processors they use."""


@dataclass(frozen=True)
class Resources:
    """Options of a batch that say where its runs go, see `dfast.batch`.

    Raises:
        ConfigError: one that cannot be used.
    """

    engine: str = "local"
    address: str | None = None
    jobs: int | None = None
    threads: int | None = None
    gpus_per_run: float | None = None
    retries: int = 2
    device: str | None = None

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, ("local", "ray"))
        _one_of("device", self.device, ("cpu", "cuda", None))
        for name, least in (("jobs", 1), ("threads", 1), ("retries", 0)):
            value = getattr(self, name)
            number = whole(value)
            if (value is not None or name == "retries") and (
                number is None or not least <= number <= MOST
            ):
                raise ConfigError(f"{name}: expected {least} to {MOST}, got {shown(value)}")
        if self.address is not None and (self.engine != "ray" or not isinstance(self.address, str)):
            raise ConfigError(
                f"address: expected that of a cluster, with the engine 'ray', got "
                f"{shown(self.address)} with {shown(self.engine)}"
            )
        share = None if self.gpus_per_run is None else real(self.gpus_per_run)
        if self.gpus_per_run is not None and (share is None or not 0 <= share <= 1):
            raise ConfigError(
                "gpus_per_run: expected 0 to 1, since a run uses one GPU at most, got "
                f"{shown(self.gpus_per_run)}"
            )
        if share is not None and self.device is not None and (share > 0) != (self.device == "cuda"):
            raise ConfigError(
                f"device: expected {'cuda' if share else 'cpu'} beside gpus_per_run {share:g}, "
                f"got {shown(self.device)}"
            )

    @property
    def share(self) -> float | None:
        """GPUs of a run, None where the machine or the cluster decides."""
        if self.gpus_per_run is not None:
            return float(self.gpus_per_run)
        return {"cpu": 0.0, "cuda": 1.0, None: None}[self.device]

    def open(self, runs: int) -> Place:
        """Return the place, with its engine started.

        Args:
            runs: how many there are.

        Raises:
            ConfigError: Ray is not installed.
            DeviceError: there is no GPU.
            DfastError: there is no cluster at the address.
        """
        return self._on_ray(runs) if self.engine == "ray" else self._here(runs)

    def _on_ray(self, runs: int) -> Place:
        """Return a place on a Ray cluster."""
        from dfast.batches.on_ray import RayEngine

        threads = self.threads or 1
        engine = RayEngine(self.address, threads=threads, gpus=self.share, retries=self.retries)
        at_once = self.jobs or runs
        room = max(1, min(at_once, engine.room))
        device: Literal["cpu", "cuda"] = "cuda" if engine.gpus else "cpu"
        return Place(engine, device, threads, at_once, room, engine.devices)

    def _here(self, runs: int) -> Place:
        """Return a place on this machine."""
        from dfast._device import pick_device

        wanted = None if self.share is None else "cuda" if self.share else "cpu"
        gpus: tuple[str, ...] = ()
        if pick_device(wanted).type == "cuda":
            import torch

            gpus = visible_gpus(torch.cuda.device_count())
        cpus = usable_cpus()
        most = int(len(gpus) / (self.share or 1.0) + 1e-6) if gpus else cpus // (self.threads or 1)
        at_once = self.jobs or max(1, min(runs, most))
        threads = self.threads or max(1, cpus // at_once)
        engine = LocalEngine(at_once, gpus, runs)
        devices = max(1, len(gpus))
        return Place(engine, "cuda" if gpus else "cpu", threads, at_once, at_once, devices)


def jobs_of(
    rows: Sequence[Row], folder: Path, place: Place, base: Config, **common: Any
) -> list[Job]:
    """Return the runs of a table, complete.

    Args:
        rows: the table.
        folder: of the batch, absolute.
        place: where they run.
        base: settings of all runs, which each row changes.
        **common: fields of every `Job`: `prior`, `export`, `score`, `download`.

    Raises:
        ConfigError: settings of a row that do not go together, or a prompt that has no scores.
    """
    jobs = []
    for row in rows:
        try:
            config = (row.base or base).replace(**row.settings)
            _check_guide(config.method.name, row.clip)
            if common["score"]:
                for prompt in _scored_prompts(row.prompt, config):
                    read_sentence(prompt)
            if common["prior"] == "shapes" and not row.clip:
                _check_guidance(config)
        except DfastError as error:
            raise ConfigError(f"{row.where}: {error}") from error
        if common["prior"] == "shapes" and config.guidance.negative:
            raise ConfigError(
                f"{row.where}, column 'guidance.negative': expected '', the embedded prior knows "
                f"no others, got {shown(config.guidance.negative)}"
            )
        jobs.append(
            Job(
                batch=str(folder),
                name=row.name,
                prompt=row.prompt,
                seed=row.seed,
                config=config.to_dict(),
                device=place.device,
                threads=place.threads,
                clip=row.clip,
                **(common | {"prior": "shapes"} if row.clip else common),  # those have no prior
            )
        )
    return jobs


def _scored_prompts(prompt: str, config: Config) -> list[str]:
    """Return the sentences of what is scored of a run, see `dfast.evaluation.score.with_parts`."""
    whole = [prompt] if config.layout.shows_whole else []
    return [*whole, *(part.prompt for part in config.layout.parts)]


def _check_guidance(config: Config) -> None:
    """Raise ConfigError where the embedded prior cannot serve the guidance of a run."""
    from dfast.guidance.diffusion import check_conditions
    from dfast.priors.embedded.prior import ShapesPrior

    check_conditions(config.guidance, "shapes", ShapesPrior.conditions, is_latent=False)


def _check_guide(method: str, clip: str) -> None:
    """Raise ConfigError where the CLIP that guides a method is missing, or no CLIP guides it."""
    by_clip = METHODS[method].guide == "clip"
    if by_clip and not clip:
        raise ConfigError(f"method: expected one that a prior guides, got {method!r}")
    if clip and not by_clip:
        raise ConfigError(f"clip: expected none with method {method!r}, which a prior guides")


def _one_of(name: str, value: object, choices: tuple[str | None, ...]) -> None:
    """Raise ConfigError unless an option has one of the values that there are."""
    if value not in choices:
        raise ConfigError(f"{name}: expected one of {list(choices)}, got {shown(value)}")
