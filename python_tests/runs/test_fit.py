"""As many runs side by side as fit: the choice, its record, and what is counted once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models
import torch
from oracle import OraclePrior
from tiny_runs import TINY

import dfast
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.priors import load_prior
from dfast.priors.base import Prior
from dfast.runs import memory, step_cost, timed_steps
from dfast.runs.fit import MARGIN
from dfast.runs.plan import Plan, Round
from dfast.runs.step_cost import HEAP, OVERHEAD_BYTES, CostModel, Model
from dfast.runs.timed_steps import TIMED, StepTimes, extrapolated, settled, time_steps

pytestmark = pytest.mark.usefixtures("needs_native")
CPU = torch.device("cpu")
PROMPTS = ["a red chair", "a blue mug", "a green ball"]


class Joining(OraclePrior):
    """An oracle that takes several prompts at once."""

    joins_prompts = True

    def __init__(self) -> None:
        super().__init__(12)

    def join_prompts(self, embeddings: Sequence[Any]) -> str:
        return " and ".join(embeddings)


def costs(prior: Prior, config: Config = TINY, **options: Any) -> CostModel:
    return CostModel(Model(prior, 0), "a ball", config, CPU, 4, timed=False, **options)


def free(monkeypatch: pytest.MonkeyPatch, count: int | None) -> None:
    monkeypatch.setattr(step_cost, "available_bytes", lambda _: count)


@cache
def joined() -> CostModel:
    """Return the cost of tiny runs that step together."""
    return costs(Joining())


def room_for(count: int) -> int:
    """Return the free memory in which so many tiny runs just fit."""
    found = joined()
    needed = found.peak(found.of(count)) - OVERHEAD_BYTES["cpu"]
    return int(needed / (1.0 - MARGIN)) + 2


@pytest.mark.parametrize("count", [1, 2])
def test_as_many_as_fit_run_side_by_side(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free(monkeypatch, room_for(count))
    steps: list[str] = []
    results = dfast.train(
        PROMPTS,
        prior=Joining(),
        out=tmp_path,
        config=TINY,
        device="cpu",
        at_once="fit",
        callbacks=[lambda event: steps.append(event.prompt)],
    )
    assert [r.prompt for r in results] == PROMPTS and all(r.steps == 4 for r in results)
    assert set(steps[: 4 * count]) == set(PROMPTS[:count])
    said = [line for line in capsys.readouterr().err.splitlines() if "fit:" in line]
    assert len(said) == 1 and f"fit: {count} of 3 side by side: " in said[0]
    for folder in tmp_path.iterdir():
        assert json.loads((folder / "run.json").read_text())["at_once"] == count


def test_the_choice_is_the_same_again_and_by_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, room_for(2))
    found = [
        dfast.estimate(PROMPTS, prior=Joining(), config=TINY, device="cpu", at_once="fit")
        for _ in range(2)
    ]
    assert [one.at_once for one in found] == [2, 2] and found[0].peak == found[1].peak


def test_memory_that_is_not_known_needs_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, None)
    with pytest.raises(ConfigError, match="expected a number where the free memory of cpu"):
        dfast.estimate(PROMPTS, prior=Joining(), config=TINY, device="cpu", at_once="fit")


def test_a_prior_of_one_prompt_gains_nothing() -> None:
    found = dfast.estimate(["a", "b"], prior=OraclePrior(12), config=TINY, at_once="fit")
    assert found.at_once == 1 and "takes one prompt at a time" in found.note
    many = dfast.estimate(["a", "b"], prior=OraclePrior(12), config=TINY, device="cpu")
    assert many.at_once == 2 and many.working == found.working and many.state == 2 * found.state
    assert len(found.rounds) == 2 and len(many.rounds) == 1


def test_particles_fit_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"device": "cpu", "progress": False, "at_once": "fit"}
    free(monkeypatch, 1 << 20)
    short = TINY.replace(train={"steps": 1})
    made = dfast.train("a ball", particles=2, prior=OraclePrior(12), config=short, **options)
    assert [r.seed for r in made] == [0, 1]
    copies = TINY.replace(guidance={"variant": "vsd"})
    with pytest.raises(ConfigError, match="particles: expected at most 1, which fit"):
        dfast.train("a red ball", particles=2, config=copies, **options)


def test_what_is_shared_counts_once() -> None:
    prior: Any = load_prior(str(tiny_models.folder("sd15")), CPU)
    found = costs(prior)
    one, four = found.of(1), found.of(4)
    assert four.state == pytest.approx(4 * one.state, rel=0.01)
    assert four.flops["unet"] == 4 * one.flops["unet"]
    assert four.working["vae working set"] == 4 * one.working["vae working set"]
    assert 2 * one.working["unet working set"] < four.working["unet working set"]
    more = found.peak(four) - found.peak(one)
    assert more < 4 * HEAP["cpu"] * (one.state + sum(one.working.values()))


def test_particles_share_the_copy_of_the_prior() -> None:
    config = TINY.replace(guidance={"variant": "vsd", "vsd_rank": 8})
    prior = load_prior("shapes", CPU)
    apart, shared = costs(prior, config), costs(prior, config, particles=True)
    assert not apart.joined and shared.joined
    plain = costs(prior)
    scenes = plain.of(2).state - plain.of(1).state
    own = apart.of(1).state - plain.of(1).state
    assert own > 0 and apart.of(2).state == 2 * apart.of(1).state
    # Each health check copies the copy of the prior, which itself is there once.
    assert scenes < shared.of(2).state - shared.of(1).state < scenes + own


class Heavy(Joining):
    """An oracle with a network of 4 MB, which is there once it is loaded."""

    loaded: torch.nn.Module | None = None

    @property
    def network(self) -> torch.nn.Module | None:
        return self.loaded

    def load(self) -> None:
        self.loaded = self.loaded or torch.nn.Linear(1000, 1000)

    def weight_bytes(self) -> dict[str, int]:
        return {} if self.loaded is None else {"unet": 4_004_000}


def test_weights_that_are_read_on_the_way_count_once() -> None:
    light, heavy = joined(), costs(Heavy())
    assert heavy.weights == {"unet": 4_004_000}
    for count in (1, 2, 4):
        assert heavy.of(count).working == pytest.approx(light.of(count).working, rel=0.01)
        more = heavy.peak(heavy.of(count)) - light.peak(light.of(count))
        assert more == pytest.approx(4_004_000, rel=0.05)


def test_the_bytes_of_steps_do_not_depend_on_what_was_before() -> None:
    prior = Joining()
    first = time_steps(prior, "a ball", TINY, CPU, 2)
    again = time_steps(prior, "a ball", TINY, CPU, 2, timed=False)
    assert first[1:] == again[1:] and first.seconds > 0


def test_other_numbers_of_runs_are_on_the_line() -> None:
    known = [(1, StepTimes(1.0, 10, 100, 7)), (2, StepTimes(1.5, 18, 200, 7))]
    assert extrapolated(known, 1) == known[0][1] and extrapolated(known, 2) == known[1][1]
    assert extrapolated(known, 4) == StepTimes(2.5, 34, 400, 7)
    assert extrapolated(known[:1], 3) == StepTimes(3.0, 30, 300, 7)
    more = [*known, (8, StepTimes(6.0, 78, 800, 7))]
    assert extrapolated(more, 5).seconds == pytest.approx(3.75)
    slow = [(1, StepTimes(1.0, 10, 100, 7, 0.5)), (2, StepTimes(1.5, 18, 200, 7, 0.75))]
    assert extrapolated(slow, 4).start_seconds == extrapolated(slow[:1], 2).start_seconds + 0.25


def test_steps_on_a_gpu_are_timed_once_they_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    now, read = [0.0], []
    monkeypatch.setattr(timed_steps.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timed_steps, "read_metrics", read.append)
    trainer: Any = SimpleNamespace(step=0, config=TINY.replace(train={"log_every": 10}))

    def step() -> list[Any]:
        now[0] += 0.5 if trainer.step < 12 else 0.125
        trainer.step += 1
        return [{}, ConfigError("one that has ended")]

    seconds, start = timed_steps._settled_and_timed(step, trainer, CPU)
    taken = settled(TINY) + TIMED["cuda"]
    assert (seconds, start) == (0.125, 12 * 0.375)
    assert trainer.step == taken and len(read) == taken // 10


def test_rounds() -> None:
    assert Plan(10, 4).rounds(300) == [Round(4, 300), Round(4, 300), Round(2, 300)]
    assert Plan(3, 8).rounds(300) == [Round(3, 300)]
    assert Plan(3).most == 3 and Plan(3, "fit").most == 3
    assert Plan(best_of=4).rounds(100) == [Round(4, 35), Round(1, 65)]
    assert Plan(best_of=4).rounds(1) == [Round(4, 1)]


@pytest.mark.parametrize(
    ("version", "files", "expected"),
    [
        ("2", {"memory.max": "1000", "memory.current": "600"}, [400]),
        (
            "2",
            {
                "memory.max": "1000",
                "memory.current": "600",
                "memory.stat": "anon 9\ninactive_file 250\n",
            },
            [650],
        ),
        ("2", {"memory.max": "max", "memory.current": "600"}, []),
        ("1", {"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "100"}, [800]),
    ],
)
def test_limits_of_the_own_group_count(
    version: str, files: dict[str, str], expected: list[int], tmp_path: Path
) -> None:
    mount, proc = tmp_path / "groups", tmp_path / "proc"
    (mount / "job").mkdir(parents=True)
    proc.mkdir()
    for name, text in files.items():
        (mount / "job" / name).write_text(text + "\n")
    (proc / "cgroup").write_text("0::/job\n" if version == "2" else "4:memory:/job\n")
    kind = "cgroup2 cgroup2 rw" if version == "2" else "cgroup cgroup rw,memory"
    (proc / "mountinfo").write_text(f"30 24 0:26 / {mount} rw,nosuid - {kind}\n")
    assert memory._container_bytes(proc) == expected
    assert memory._container_bytes(tmp_path / "none") == []
