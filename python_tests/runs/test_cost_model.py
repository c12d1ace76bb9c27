"""Costs of computations on the meta device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dfast.config import Config, PriorConfig
from dfast.priors.loading.folder import Folder
from dfast.priors.pipelines.open import open_folder
from dfast.runs.cost_model import Cost, cost
from dfast.runs.measurements import NetworkCost, network_costs
from dfast.runs.step_cost import PLAIN_OPERATOR_SECONDS, network_seconds
from dfast.runs.timed_steps import PLAIN_STEPS
from dfast.testing.outlines import write_outline

pytestmark = pytest.mark.usefixtures("needs_native")

CPU = torch.device("cpu")
TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"views": 2, "resolution": [[0.0, 12]]},
    train={"steps": 6, "checkpoint_every": 2, "preview_every": 0},
)


def test_cost_of_known_computations() -> None:
    weight = torch.empty(32, 16, device="meta")
    x = torch.empty(8, 32, device="meta")

    def chain() -> None:
        y = x @ weight  # 8 x 16
        for _ in range(5):
            y = y + 1.0  # two alive at once, never six

    found = cost(chain, [weight, x])
    assert found.flops == 2 * 8 * 32 * 16 and found.peak_bytes == 2 * 4 * 8 * 16

    def kept() -> None:
        y = torch.empty(8, 16, device="meta", requires_grad=True)
        (y.exp().exp().exp()).sum().backward()  # each result waits for the way back

    assert cost(kept, []).peak_bytes >= 4 * 4 * 8 * 16


def test_attention_costs_operations_but_no_matrix() -> None:
    length, width = 256, 8
    q = torch.empty(1, 2, length, width, device="meta")
    found = cost(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q), [q])
    assert found.flops == 2 * (2 * length * length * width) * 2
    assert found.peak_bytes == q.nbytes


def test_operators_that_compute_are_counted() -> None:
    weight = torch.empty(32, 16, device="meta")
    x = torch.empty(8, 32, device="meta")

    def call() -> None:
        y = (x @ weight).t().reshape(16, 8)[:4]
        torch.empty_like(y).copy_(y).add_(1.0)

    assert cost(call, [weight, x]).operators == 3


def test_networks_take_what_was_measured(tmp_path: Path) -> None:
    """Operations and operators account for the published networks' times on an H200."""
    file = Path(__file__).parents[2] / "benchmarks" / "results" / "guidance-nvidia-h200.json"
    measured = {record["model"]: record for record in json.loads(file.read_text())[:6]}
    for family, encodes in (("if-m", False), ("sd15", True)):
        folder = Folder(write_outline(family, tmp_path / family), family)
        prior = open_folder(folder, CPU, PriorConfig())
        costs = network_costs(prior, prior.cost_parts(), Config.for_prior(family))
        for name, part in {"unet": "unet_ms", "vae": "encode_ms"}.items():
            if name == "unet" or encodes:
                seconds, start = network_seconds([(costs[name], 747e12)], "cuda", 1, recorded=True)
                assert 1e3 * seconds == pytest.approx(measured[family][part], rel=0.12)
                assert 0.05 < start < 1.0


def test_what_is_not_recorded_waits_for_the_host() -> None:
    small = NetworkCost(Cost(10**9, 0, 1000), 2.0)
    replayed, start = network_seconds([(small, 1e15)], "cuda", 2, recorded=True)
    called, none = network_seconds([(small, 1e15)], "cuda", 2, recorded=False)
    assert called == 2000 * PLAIN_OPERATOR_SECONDS and none == 0.0
    assert start == pytest.approx(2 * PLAIN_STEPS * (called - replayed))
    both = [(small, 1e9), (small, 5e8)]
    assert network_seconds(both, "cpu", 2, recorded=False) == (12.0, 0.0)
