"""A low-rank copy is its network at first, then a network whose weights are W + B A."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_models import CPU, FAMILIES, PLAIN, PROMPT, TRANSFORMERS, load_tiny, noise_like
from torch import Tensor, nn
from training_pool import save_untrained

from dfast.errors import PriorError
from dfast.priors.base import Prior
from dfast.priors.embedded.prior import ShapesPrior
from dfast.priors.low_rank import LowRankCopy, attention_linears
from dfast.scene.cameras import CameraBatch, orbit

T = torch.tensor([300, 800])


@pytest.fixture(scope="module")
def cameras() -> CameraBatch:
    return orbit(2, azimuth=20.0)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> ShapesPrior:
    folder = save_untrained(tmp_path_factory.mktemp("weights"))
    return ShapesPrior(CPU, folder, dtype=torch.float32)


def predictions(prior: Prior, noisy: Tensor, seen: CameraBatch) -> tuple[Tensor, Tensor, Any]:
    """Return what the prior predicts, what a fresh copy does, and the copy."""
    condition = prior.encode_prompt(PROMPT)
    known: dict[str, Any] = {"cameras": seen, "textureless": PLAIN}
    frozen = prior.predict_noise(noisy, T, condition, **known)[0]
    made = LowRankCopy(prior.network, 2)  # type: ignore[arg-type]
    with made.active(seen):
        return frozen, prior.predict_trained(noisy, T, condition, **known), made


def check(prior: Prior, noisy: Tensor, seen: CameraBatch) -> None:
    """Check the first prediction of a copy, its gradients, and that the network does not change."""
    prior.load()
    assert prior.network is not None and prior.untrainable == ""
    before = {k: v.clone() for k, v in prior.network.state_dict().items()}
    frozen, own, made = predictions(prior, noisy, seen)
    torch.testing.assert_close(own, frozen, rtol=1e-5, atol=1e-5)
    # B and the camera's last layer are zero: they move first, A and the first layer after them.
    gradients = torch.autograd.grad(own.square().sum(), made.parts, materialize_grads=True)
    ups, camera = gradients[1:-4:2], gradients[-2:]
    assert all(bool(g.any()) for g in camera)
    # What the last block says of the text reaches no output.
    assert sum(bool(g.any()) for g in ups) > 0.8 * len(ups)
    assert not any(bool(g.any()) for g in gradients[:-4:2])
    with torch.no_grad():
        made.values.add_(torch.linspace(-0.1, 0.1, made.values.numel()))
    condition = prior.encode_prompt(PROMPT)
    known: dict[str, Any] = {"cameras": seen, "textureless": PLAIN}
    with made.active(seen):
        moved = prior.predict_noise(noisy, T, condition, **known)[0]
    assert float((moved - frozen).abs().max()) > 1e-3
    assert torch.equal(prior.predict_noise(noisy, T, condition, **known)[0], frozen)
    after = prior.network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


@pytest.mark.parametrize("family", [*FAMILIES, *TRANSFORMERS])
def test_a_copy_of_a_pipeline(family: str, cameras: CameraBatch) -> None:
    prior = load_tiny(family)
    check(prior, noise_like(prior), cameras)


def test_a_copy_of_the_embedded_network(embedded: ShapesPrior, cameras: CameraBatch) -> None:
    noisy = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    check(embedded, noisy, cameras)


@pytest.mark.parametrize("family", ["sd15", "if-m"])
def test_its_layers_are_those_with_the_sum_of_the_weights(
    family: str, cameras: CameraBatch
) -> None:
    prior = load_tiny(family)
    prior.load()
    noisy, condition = noise_like(prior), prior.encode_prompt(PROMPT)
    made = LowRankCopy(prior.network, 3)
    with torch.no_grad():
        made.values.copy_(
            torch.randn(made.values.shape, generator=torch.Generator().manual_seed(4))
        )
        made.values.mul_(0.2)
        for part in made.parts[-2:]:  # without the camera
            part.zero_()
        known: dict[str, Any] = {"cameras": cameras, "textureless": PLAIN}
        with made.active(cameras):
            found = prior.predict_noise(noisy, T, condition, **known)
        merged = copy.deepcopy(prior.network)
        for i, linear in enumerate(attention_linears(merged)):
            linear.weight += made.parts[2 * i + 1] @ made.parts[2 * i]
        prior._network = merged
        torch.testing.assert_close(
            found, prior.predict_noise(noisy, T, condition, **known), rtol=1e-4, atol=1e-4
        )


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("family", ["sd15", "sdxl", "if-m"])
def test_a_tuned_network_trains_the_same_copy(family: str, cameras: CameraBatch) -> None:
    from dfast.priors.fused.tune import tune

    plain, tuned = load_tiny(family), load_tiny(family)
    tuned.load()
    tune(tuned.unet)
    tuned._is_tuned = True
    noisy, found = noise_like(plain), []
    plain.load()
    for prior in (plain, tuned):
        frozen, own, made = predictions(prior, noisy, cameras)
        found.append((frozen, own, *torch.autograd.grad(own.square().sum(), made.parts)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-3, atol=1e-3 * float(one.detach().abs().max())
        )


@pytest.mark.parametrize(
    ("network", "lacks"), [(nn.Linear(2, 2), "with attention"), (None, "time_embedding")]
)
def test_a_network_that_cannot_be_copied(network: nn.Module | None, lacks: str) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_q = nn.Linear(2, 2)

    with pytest.raises(PriorError, match=lacks):
        LowRankCopy(network or Attention(), 1)


@pytest.mark.parametrize(
    ("option", "reason"), [({"compile": True}, "compiled"), ({"offload": "model"}, "streamed")]
)
def test_how_a_network_runs_can_forbid_a_copy(option: dict[str, Any], reason: str) -> None:
    assert reason in load_tiny("sd15", **option).untrainable
