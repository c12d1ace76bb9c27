"""Particles: several objects of one prompt, one guidance, and how different they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import OraclePrior
from tiny_models import CPU, load_tiny
from tiny_runs import TINY

import dfast
from dfast.cli.main import main
from dfast.config import Config
from dfast.errors import CollapsedError, ConfigError, RunsFailedError
from dfast.guidance import DiffusionGuidance, VariationalGuidance
from dfast.priors.base import Prior
from dfast.runs.particles import Particles, diversity, pairwise_distances
from dfast.training.build import build_trainer
from dfast.training.together import Together
from dfast.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("needs_native")
VSD = TINY.replace(guidance={"variant": "vsd", "vsd_rate": 1e-2})


def particles(prior: Prior, config: Config = TINY, count: int = 3, **options: Any) -> Particles:
    options = {"progress": False, "device": "cpu", "seed": 4} | options
    return dfast.train("a ball", particles=count, prior=prior, config=config, **options)


class Counted(OraclePrior):
    """Counts the images of each call. It takes one prompt at a time."""

    def __init__(self) -> None:
        super().__init__(12)
        self.calls: list[int] = []
        self.encoded = 0

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        self.encoded += 1
        return super().encode_prompt(prompt, views=views, negative=negative)

    def predict_noise(self, noisy: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        self.calls.append(len(noisy))
        return super().predict_noise(noisy, *args, **options)


def test_they_share_every_call_of_the_prior(tmp_path: Path) -> None:
    prior = Counted()
    results = particles(prior, out=tmp_path)
    assert prior.calls == [6] * 4 and prior.encoded == 1
    assert [r.seed for r in results] == [4, 5, 6] and {r.prompt for r in results} == {"a ball"}
    names = [f"a-ball-seed-{seed}" for seed in (4, 5, 6)]
    assert [r.folder.name for r in results if r.folder] == names
    about = json.loads((tmp_path / names[0] / "run.json").read_text())
    assert about["particles"] == 3 and about["seed"] == 4
    saved = json.loads((tmp_path / "particles.json").read_text())
    assert saved["diversity"] == results.diversity and saved["diversity"] > 0
    assert saved["folders"] == names and saved["seeds"] == [4, 5, 6]
    distances = np.array(saved["distances"])
    assert (distances == distances.T).all() and not distances.diagonal().any()
    assert saved["diversity"] == pytest.approx(distances.sum() / 6, abs=1e-5)


def test_a_particle_without_a_trained_copy_is_the_run_alone() -> None:
    (first, *_) = particles(load_tiny("sd15"), count=2)
    alone = dfast.train(
        "a ball", prior=load_tiny("sd15"), config=TINY, seed=4, progress=False, device="cpu"
    )
    one, other = first.render(resolution=16), alone.render(resolution=16)
    assert np.abs(one.astype(int) - other.astype(int)).mean() < 1.0


def group(count: int = 2) -> list[Trainer]:
    """Return trainers of particles under VSD."""
    prior, made = load_tiny("sd15"), list[Trainer]()
    for seed in range(count):
        shared = made[0].guidance if made else None
        assert shared is None or isinstance(shared, DiffusionGuidance)
        made.append(build_trainer(VSD, prior, "a ball", seed, CPU, guidance=shared))
    return made


def test_the_copy_of_vsd_learns_from_all_of_them() -> None:
    trainers = group()
    guidance = trainers[0].guidance
    assert isinstance(guidance, VariationalGuidance) and trainers[1].guidance is guidance
    seen: list[int] = []
    train = guidance._train

    def counted(x: torch.Tensor, *rest: Any) -> None:
        seen.append(len(x))
        train(x, *rest)

    guidance._train = counted  # type: ignore[method-assign]
    together = Together(trainers)
    for _ in range(3):
        assert all(isinstance(end, dict) for end in together.train_step())
    assert seen == [4, 4, 4]
    assert float(guidance.state_dict()["adam.step"]) == 3


def test_copies_of_their_own_do_not_step_together() -> None:
    prior = load_tiny("sd15")
    runs = [build_trainer(VSD, prior, "a ball", seed, CPU) for seed in (0, 1)]
    assert not runs[0].guidance.joins(runs[1].guidance)
    with pytest.raises(ConfigError, match=r"guidance\.variant: expected another one than 'vsd'"):
        Together(runs)
    results = dfast.train(
        ["a ball", "a cone", "a ball"], seed=[0, 0, 1], prior=prior, config=VSD, progress=False,
        device="cpu", steps=2,
    )  # fmt: skip
    assert [r.steps for r in results] == [2, 2, 2]


def test_stopped_particles_go_on_as_if_they_had_not_stopped(tmp_path: Path) -> None:
    def after_two(event: dfast.Event) -> None:
        if event.step == 2:
            event.stop()

    whole = particles(load_tiny("sd15"), VSD, 2)
    stopped = particles(load_tiny("sd15"), VSD, 2, out=tmp_path, callbacks=[after_two])
    assert stopped.diversity is None and not (tmp_path / "particles.json").exists()
    assert [r.steps for r in stopped] == [2, 2]
    resumed = particles(load_tiny("sd15"), VSD, 2, out=tmp_path, resume=True)
    assert resumed.diversity == whole.diversity
    for one, other in zip(whole, resumed, strict=True):
        state = other.scene.state_dict()
        assert all(
            torch.equal(value, state[name]) for name, value in one.scene.state_dict().items()
        )


def test_the_copy_goes_on_from_the_run_that_is_furthest_behind(tmp_path: Path) -> None:
    """As after a crash between the checkpoints of two particles."""
    import shutil

    def stop_at(step: int) -> Any:
        return lambda event: event.stop() if event.step == step else None

    prior, behind = load_tiny("sd15"), "a-ball-seed-5/checkpoint.safetensors"
    particles(prior, VSD, 2, out=tmp_path / "a", callbacks=[stop_at(2)])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    particles(prior, VSD, 2, out=tmp_path / "b", callbacks=[stop_at(3)], resume=True)
    shutil.copy(tmp_path / "a" / behind, tmp_path / "b" / behind)
    steps: list[tuple[int, int]] = []
    results = particles(
        prior, VSD, 2, out=tmp_path / "b", resume=True,
        callbacks=[lambda event: steps.append((event.seed, event.step))],
    )  # fmt: skip
    assert steps == [(5, 3), (4, 4), (5, 4)] and results.diversity is not None


def test_a_particle_that_fails_leaves_the_others_going(monkeypatch: pytest.MonkeyPatch) -> None:
    end_step = Trainer.end_step

    def failing(self: Trainer, metrics: Any) -> Any:
        if self.seed == 5 and self.step == 1:
            raise CollapsedError("the scene stays empty")
        return end_step(self, metrics)

    monkeypatch.setattr(Trainer, "end_step", failing)
    with pytest.raises(RunsFailedError, match="1 of 3 runs failed") as caught:
        particles(load_tiny("sd15"), VSD)
    assert [r and r.steps for r in caught.value.results] == [4, None, 4]


def test_distances_of_equal_and_of_different_objects() -> None:
    (one, other) = particles(OraclePrior(12), count=2)
    distances = pairwise_distances([one, one, other])
    assert distances[0, 1] == 0 and 0 < distances[0, 2] == distances[1, 2] < 1
    assert diversity(distances) == pytest.approx(2 * distances[0, 2] / 3)


@pytest.mark.parametrize("count", [0, 1, 65, True, 2.0, "2"])
def test_numbers_of_particles_that_cannot_be(count: Any) -> None:
    with pytest.raises(ConfigError, match="particles: expected a number from 2 to 64"):
        particles(OraclePrior(12), count=count)


@pytest.mark.parametrize("other", [{"best_of": 2}, {"at_once": 2}])
def test_what_particles_do_not_go_with(other: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=f"particles: expected without .* got {next(iter(other))}$"
    ):
        particles(OraclePrior(12), **other)
    with pytest.raises(ConfigError, match="particles: expected one prompt"):
        dfast.train(["a ball"], particles=2, prior=OraclePrior(12))  # type: ignore[call-overload]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny_models import folder

    settings = {
        "field.grid.levels": 3, "field.grid.log2_entries": 10, "field.hidden": 8,
        "occupancy.resolution": 16, "march.step_size": 0.1, "camera.views": 1,
        "camera.resolution": "[[0.0, 8]]", "guidance.variant": "vsd",
    }  # fmt: skip
    tiny = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    line = ["train", "a ball", "--particles", "2", "--prior", str(folder("sd15"))]
    line += ["--out", str(tmp_path), "--steps", "2", "--device", "cpu", "--quiet", "--no-export"]
    assert main([*line, *tiny]) == 0
    printed = capsys.readouterr().out.splitlines()
    runs = [f"{tmp_path}/a-ball-seed-{seed}/result.safetensors" for seed in (0, 1)]
    assert sorted(printed) == sorted([*runs, f"{tmp_path}/particles.json"])
    for wrong in (["--best-of", "2"], ["--view"], ["--at-once", "2"]):
        assert main([*line, *wrong]) == 2
        assert "expected without" in (said := capsys.readouterr().err) and "--particles" in said
    assert main(["train", "--particles", "2", "--resume"]) == 2
    assert "--particles: expected a prompt" in capsys.readouterr().err
