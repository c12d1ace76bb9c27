"""Runs on priors whose prediction is known: reconstruction, determinism, resuming, health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import OraclePrior, ellipsoid

import dfast
from dfast.config import Config, presets
from dfast.errors import CollapsedError, NonFiniteError, RunFolderError
from dfast.ops.adam import STEP
from dfast.runs.events import Callback, Event
from dfast.runs.recording import result_of
from dfast.runs.train import train
from dfast.scene.cameras import CameraBatch, spherical
from dfast.training.build import build_trainer

pytestmark = pytest.mark.usefixtures("needs_native")

CPU = torch.device("cpu")
ALBEDO = Config().replace(
    shading={"albedo": 1.0, "diffuse": 0.0, "textureless": 0.0},
    background={"kind": "solid"},
    camera={"elevation": [-60, 80], "resolution": [[0.0, 32]]},
    regularizer={"orientation": [0.0, 0.0], "opacity": 0.0},
)
"""Settings under which a scene can match the oracle's images: albedo on white."""

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16, "every": 3, "warmup_steps": 6},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 12, "log_every": 2, "preview_every": 6, "checkpoint_every": 5, "skip_limit": 3},
)
"""Every feature of the default, small."""


def _options() -> dict[str, Any]:
    """Return the arguments of `train` for a tiny run under a new oracle."""
    return {"prior": OraclePrior(12), "device": "cpu", "config": TINY, "progress": False}


def _white(cameras: CameraBatch, size: int) -> torch.Tensor:
    return torch.ones(len(cameras), 3, size, size)


def test_oracle_reaches_30_db_on_held_out_views() -> None:
    """With an oracle for each camera SDS is a weighted reconstruction, here of an ellipsoid.

    See "Score distillation" in docs/math.md.
    """
    config = ALBEDO.replace(train={"steps": 150})
    trainer = build_trainer(config, OraclePrior(32), "an ellipsoid", 0, CPU)
    for _ in range(config.train.steps):
        trainer.train_step()
    trainer.finish()
    result = result_of(trainer)
    for azimuth, elevation in ((15.0, 10.0), (130.0, 40.0), (250.0, -20.0)):
        truth = ellipsoid(spherical(torch.tensor([azimuth]), elevation, 3.0, 40.0), 32)[0]
        picture = result.render(
            azimuth=azimuth, elevation=elevation, resolution=32, shading="albedo"
        )
        error = (torch.from_numpy(picture).permute(2, 0, 1) / 255.0 - truth).square().mean()
        assert float(-10.0 * torch.log10(error)) > 30.0


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train("x", out=tmp_path / name, seed=3, **_options())
    for file in ("result.safetensors", "checkpoint.safetensors", "previews/step_000012.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    train("x", out=tmp_path / "c", seed=4, **_options())
    result = "result.safetensors"
    assert (tmp_path / "a" / result).read_bytes() != (tmp_path / "c" / result).read_bytes()


@pytest.mark.parametrize("stop", [1, 5, 7])
def test_interrupted_and_resumed_equals_uninterrupted(stop: int, tmp_path: Path) -> None:
    def go(name: str, resume: bool = False, callbacks: tuple[Callback, ...] = ()) -> dfast.Result:
        out = tmp_path / name
        return train("x", out=out, resume=resume, callbacks=callbacks, **_options())

    def interrupt(event: Event) -> None:
        if event.step == stop:
            import signal

            signal.raise_signal(signal.SIGINT)

    go("whole")
    with pytest.raises(KeyboardInterrupt):
        go("parts", callbacks=(interrupt,))
    assert not (tmp_path / "parts" / "result.safetensors").exists()
    go("parts", resume=True)
    for file in ("result.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    lines = [(tmp_path / n / "metrics.jsonl").read_text().count("\n") for n in ("whole", "parts")]
    assert lines == [6, 6]


def test_crash_resumes_from_the_last_checkpoint(tmp_path: Path) -> None:
    class PowerCut(BaseException):
        """What nothing may catch."""

    def crash(event: Event) -> None:
        if event.step == 8:
            raise PowerCut

    options = _options()
    train("x", out=tmp_path / "whole", **options)
    with pytest.raises(PowerCut):
        train("x", out=tmp_path / "parts", callbacks=(crash,), **options)
    seen: list[int] = []
    train(
        "x",
        out=tmp_path / "parts",
        resume=True,
        callbacks=(lambda e: seen.append(e.step),),
        **options,
    )
    assert seen == [*range(6, 13)]
    result = "result.safetensors"
    assert (tmp_path / "whole" / result).read_bytes() == (tmp_path / "parts" / result).read_bytes()
    steps = [line["step"] for line in _metrics(tmp_path / "parts")]
    assert steps == [2, 4, 6, 8, 10, 12]


def _metrics(folder: Path) -> list[dict[str, float]]:
    import json

    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    options = _options()
    train("x", out=tmp_path / "r", **options)
    before = (tmp_path / "r" / "result.safetensors").read_bytes()
    train("x", out=tmp_path / "r", resume=True, **options)
    assert (tmp_path / "r" / "result.safetensors").read_bytes() == before


@pytest.mark.parametrize("seed", [0, 1])
def test_a_state_continues_its_run_whatever_the_seed(seed: int) -> None:
    whole, first, rest = (build_trainer(TINY, OraclePrior(12), "x", s, CPU) for s in (0, 0, seed))
    rest.train_step()  # has drawn inputs of its own
    for _ in range(6):
        whole.train_step()
    for _ in range(3):
        first.train_step()
    rest.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})
    assert rest.seed == 0
    for _ in range(3):
        rest.train_step()
    whole.finish()
    rest.finish()
    others = rest.state_dict()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, others[key]), key


def test_state_of_another_configuration_is_refused() -> None:
    other = build_trainer(TINY.replace(field={"hidden": 9}), OraclePrior(12), "x", 0, CPU)
    with pytest.raises(RunFolderError, match="does not fit this run"):
        build_trainer(TINY, OraclePrior(12), "x", 0, CPU).load_state_dict(other.state_dict())


def test_non_finite_steps_are_skipped_and_counted() -> None:
    prior = OraclePrior(12)
    trainer = build_trainer(TINY, prior, "x", 0, CPU)
    trainer.train_step()
    before = trainer.scene.field.table.detach().clone()
    prior.poison = 2
    trainer.train_step()
    trainer.train_step()
    assert torch.equal(trainer.scene.field.table, before) and float(trainer.health.skipped) == 2
    trainer.train_step()
    assert not torch.equal(trainer.scene.field.table, before)
    assert torch.isfinite(trainer.scene.field.table).all() and trainer.health.rewinds == 0


def test_a_streak_rewinds_and_a_hopeless_run_is_named() -> None:
    prior = OraclePrior(12)
    trainer = build_trainer(TINY.replace(train={"steps": 60}), prior, "x", 0, CPU)
    trainer.train_step()
    with torch.no_grad():
        trainer.scene.field.table[0] = torch.nan  # only a rewind repairs this
    for _ in range(8):
        trainer.train_step()
    assert trainer.health.rewinds == 1 and torch.isfinite(trainer.scene.field.table).all()
    prior.poison = 1000
    with pytest.raises(NonFiniteError, match="rewinds did not help") as error:
        for _ in range(60):
            trainer.train_step()
    assert "\n" not in str(error.value) and "prior.precision" in str(error.value)


def test_delayed_checks_rewind_to_a_state_known_to_be_good() -> None:
    """On CUDA the values of a check are read at the next, so only then a state is known good."""
    prior = OraclePrior(12)
    trainer = build_trainer(TINY.replace(train={"steps": 60}), prior, "x", 0, CPU)
    trainer.health.delayed = True
    for _ in range(3):
        trainer.train_step()  # checks after 1 and 3
    good = trainer.health._good
    assert good is not None and float(good["adam.step"]) == 1
    with torch.no_grad():
        trainer.scene.field.table[0] = torch.nan
    trainer.train_step()
    trainer.train_step()  # checks the damage, acts on the check after 3
    assert trainer.health.rewinds == 0 and trainer.scene.field.table.isnan().any()
    good = trainer.health._good
    assert good is not None and float(good["adam.step"]) == 3
    trainer.train_step()
    trainer.train_step()
    assert trainer.health.rewinds == 1 and torch.isfinite(trainer.scene.field.table).all()
    assert float(trainer.optimizer.status[STEP]) == 3
    prior.poison = 1000
    with pytest.raises(NonFiniteError, match="rewinds did not help"):
        for _ in range(60):
            trainer.train_step()


@pytest.mark.parametrize("delayed", [False, True])
def test_empty_scene_is_reset_once_then_named(delayed: bool) -> None:
    config = TINY.replace(
        train={"steps": 400, "collapse_limit": 2},
        background={"kind": "solid"},
        optimizer={"lr_grid": 0.3, "lr_mlp": 0.3, "final": 1.0},
        regularizer={"opacity": 1.0},
    )
    trainer = build_trainer(config, OraclePrior(12, _white), "x", 0, CPU)
    trainer.health.delayed = delayed
    with pytest.raises(CollapsedError, match="became empty again after it was re-seeded"):
        for _ in range(400):
            trainer.train_step()
    assert trainer.health.was_reset


@pytest.mark.parametrize("log_every", [1, 10, 1000])
def test_a_short_run_of_nothing_but_nan_is_not_a_success(log_every: int) -> None:
    prior = OraclePrior(12)
    prior.poison = 1000
    config = TINY.replace(train={"steps": 4, "log_every": log_every})
    trainer = build_trainer(config, prior, "x", 0, CPU)
    with pytest.raises(NonFiniteError):
        for _ in range(4):
            trainer.train_step()


def test_a_run_that_ends_empty_is_not_a_success() -> None:
    config = TINY.replace(
        train={"steps": 60, "log_every": 1000},
        background={"kind": "solid"},
        optimizer={"lr_grid": 0.3, "lr_mlp": 0.3, "final": 1.0},
        regularizer={"opacity": 1.0},
    )
    trainer = build_trainer(config, OraclePrior(12, _white), "x", 0, CPU)
    with pytest.raises(CollapsedError, match="ended empty"):
        for _ in range(60):
            trainer.train_step()


def test_a_density_that_is_not_a_number_is_rendered_not_skipped() -> None:
    trainer = build_trainer(TINY, OraclePrior(12), "x", 0, CPU)
    with torch.no_grad():
        trainer.scene.field.biases[-1][0] = torch.nan
    trainer.scene.occupancy.update(
        trainer.scene.field.density, trainer.generators.device, warmup=True
    )
    assert float(trainer.scene.occupancy.occupancy()) == 1.0
    with pytest.raises(NonFiniteError):
        trainer.train_step()


@pytest.mark.parametrize("name", ["dreamfusion", "dreamfusion-grid"])
def test_dreamfusion_presets_step(name: str) -> None:
    config = Config.from_dict(presets.named(name, "cpu")).replace(
        field={"grid": {"log2_entries": 12}, "ipe": {"width": 16, "blocks": 2}},
        occupancy={"resolution": 16},
        camera={"resolution": [[0.0, 8]]},
        shading={"ambient_only": 0.0},
        march={"step_size": 0.1},
    )
    trainer = build_trainer(config, OraclePrior(16), "x", 0, CPU)
    values = [trainer.train_step() for _ in range(2)]
    assert all(torch.isfinite(torch.as_tensor(v)).all() for v in values[-1].values())


def test_optional_terms_step() -> None:
    config = TINY.replace(
        regularizer={"entropy": 0.1, "total_variation": 0.1},
        field={"normals": "finite"},
        coarse_to_fine={"lowpass_std": [0.1, 0.0]},
        guidance={"weighting": "uniform"},
    )
    trainer = build_trainer(config, OraclePrior(12), "x", 0, CPU)
    for _ in range(6):
        norm = trainer.train_step()["gradient_norm"]
        assert torch.isfinite(torch.as_tensor(norm)) and norm > 0
