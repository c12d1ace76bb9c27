"""What a run says of its length before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from oracle import OraclePrior
from tiny_runs import train_tiny
from torch.utils.flop_counter import FlopCounterMode

from dfast.config import Config
from dfast.priors.embedded.prior import ShapesPrior
from dfast.runs import forecast
from dfast.runs.announce import roughly
from dfast.runs.events import Event
from dfast.runs.forecast import seconds_left

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DEFAULT = Config.default("cpu")


class Counted(OraclePrior):
    """An oracle that tells its operations."""

    image_flops = 1e9


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the machine do 10^10 operations a second."""
    monkeypatch.setattr(forecast, "_rate", lambda: 1e10)


def test_the_operations_of_the_embedded_prior_are_right() -> None:
    prior = ShapesPrior(CPU, dtype=torch.float32)
    condition = prior.encode_prompt("a red chair")
    t, textureless = torch.full((2,), 500), torch.zeros(2, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter:
        prior.predict_noise(
            torch.zeros(2, 3, 64, 64),
            t,
            condition,
            cameras=None,
            textureless=textureless,
            conditions=("text", "negative"),
        )
    assert counter.get_total_flops() / 4 == pytest.approx(ShapesPrior.image_flops, rel=0.02)


def test_a_forecast_counts_images_and_rays(steady: None) -> None:
    rays = 5.5e5 * (0.4 * 32**2 + 0.6 * 64**2)  # of an image, 32 pixels a side, then 64
    a_step = 4 * (2 * 1e9 + rays) / (0.5 * 1e10)
    assert seconds_left(DEFAULT, Counted(32), CPU) == pytest.approx(300 * a_step)
    assert seconds_left(DEFAULT, Counted(32), CPU, done=100) == pytest.approx(200 * a_step)
    finer = DEFAULT.replace(march={"step_size": DEFAULT.march.step_size / 2})
    a_step += 4 * rays / (0.5 * 1e10)
    assert seconds_left(finer, Counted(32), CPU) == pytest.approx(300 * a_step)
    inverted = DEFAULT.replace(guidance={"variant": "ism", "inversion_steps": 5})
    more = 4 * 6 * 1e9 / (0.5 * 1e10)
    plain = seconds_left(DEFAULT, Counted(32), CPU)
    assert plain is not None
    assert seconds_left(inverted, Counted(32), CPU) == pytest.approx(plain + 300 * more)


def test_what_is_not_known_is_not_said() -> None:
    assert seconds_left(DEFAULT, OraclePrior(32), CPU) is None
    assert seconds_left(DEFAULT, Counted(32), CUDA) is None


def test_bfloat16_is_faster(steady: None) -> None:
    prior = Counted(32)
    slow = seconds_left(DEFAULT, prior, CPU)
    prior.dtype = torch.bfloat16
    fast = seconds_left(DEFAULT, prior, CPU)
    assert slow is not None and fast is not None and 0.4 * slow < fast < 0.9 * slow


def test_a_run_that_goes_on_has_a_speed_of_its_own(steady: None) -> None:
    metrics = [{"step": 50, "seconds_per_step": 9.0}, {"step": 100, "seconds_per_step": 2.0}]
    for prior, device in ((OraclePrior(32), CUDA), (Counted(32), CPU)):
        assert seconds_left(DEFAULT, prior, device, done=100, metrics=metrics) == 400.0
    assert seconds_left(DEFAULT, OraclePrior(32), CPU, done=100, metrics=[{"step": 100}]) is None


def test_the_rate_is_that_of_this_machine() -> None:
    assert 1e7 < forecast._rate() < 1e15


def test_the_first_line_says_how_long(
    steady: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(event: Event) -> None:
        if event.step == 2:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_tiny("a ball", prior=Counted(12), out=out, progress=True, callbacks=[stop])
    assert "4 steps (a few seconds), seed 0" in capsys.readouterr().err.splitlines()[0]
    train_tiny("a ball", prior=Counted(12), out=out, progress=True, resume=True)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith('dfast: going on from step 2 with "a ball"')
    assert "4 steps (a few seconds left), seed 0" in first


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "a few seconds"),
        (9.9, "a few seconds"),
        (10, "about 10 s"),
        (84, "about 80 s"),
        (100, "about 2 min"),
        (277, "about 5 min"),
        (5399, "about 90 min"),
        (5400, "about 2 h"),
        (3.6e6, "about 1000 h"),
    ],
)
def test_times_are_rough(seconds: float, text: str) -> None:
    assert roughly(seconds) == text
