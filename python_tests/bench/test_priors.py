"""What the benches of priors share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dfast.bench import priors
from dfast.bench.priors import Options, Plan
from dfast.bench.timing import Record
from dfast.config import Config
from dfast.errors import ConfigError


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_embedded_prior_has_the_settings_of_the_device(kind: str) -> None:
    (plan,) = priors.plans(["shapes"], Options(torch.device(kind), random=True))
    assert plan == Plan("shapes", False, Config.default(kind))


def test_settings_are_changed_for_each_prior() -> None:
    how = Options(torch.device("cpu"), lambda c: c.replace(train={"steps": 7}), random=True)
    latent, pixels = priors.plans(["sd15", "if-m"], how)
    assert latent.random and latent.config == Config.for_prior("sd15").replace(train={"steps": 7})
    assert pixels.config == Config.for_prior("if-m").replace(train={"steps": 7})


def test_a_model_without_random_weights_is_named() -> None:
    with pytest.raises(ConfigError, match="prior: expected 'shapes' or, with random weights, one"):
        priors.plans(["shapes", "foo"], Options(torch.device("cpu"), random=True))


@pytest.mark.usefixtures("needs_native")
def test_every_record_is_said_and_written_at_once(tmp_path: Path) -> None:
    out, said = tmp_path / "x.json", list[str]()
    how = Options(torch.device("cpu"), random=True, out=out, say=said.append)

    def measure(plan: Plan) -> Iterator[tuple[str, Record]]:
        yield plan.name, {"step_ms": 2.0}
        written = json.loads(out.read_text())[-1]
        assert written["model"] == plan.name and written["random"] == plan.random
        yield f"{plan.name} again", {"error": "RuntimeError: no room"}

    records = priors.measure_each(priors.plans(["shapes", "sd15"], how), how, measure)
    assert said[:2] == ["shapes: 2.0", "shapes again: RuntimeError: no room"] and len(said) == 4
    assert json.loads(out.read_text()) == records and all(r["commit"] for r in records)
