"""Costs of computations on the meta device."""

from __future__ import annotations

import pytest
import torch

from dfast.config import Config
from dfast.runs.cost_model import cost

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
