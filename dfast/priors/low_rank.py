"""A trainable copy of a frozen network: low-rank changes of its attention, and a camera.

LoRA (Hu et al. 2021, arXiv 2106.09685): a linear layer W of an attention becomes W + B A, where A
[r, in] is random and B [out, r] begins at zero, so that the copy begins as the network. The copy
also knows its camera: a two-layer MLP of it is added to the time embedding, as in ProlificDreamer's
model of rendered images (Wang et al. 2023, arXiv 2305.16213); its last layer begins at zero as
well. The weights of the network are shared, and never change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfast.errors import PriorError
from dfast.priors.diffusion import at_least_float32
from dfast.priors.embedded.model import CAMERA_FEATURES, camera_features
from dfast.scene.cameras import CameraBatch

TIME_MODULES = ("time_embedding", "timestep_embedder", "time_embedder", "t_embedder", "time_in")
"""Last parts of the names that the module from a time to its embedding has in diffusers."""
CAMERA_HIDDEN = 64
"""Width of the camera's MLP."""


class LowRankCopy:
    """What a copy of a network has of its own, in one flat tensor that an optimiser can train.

    Inside `active` the network computes what the copy would; outside it is as it was.

    Attributes:
        values: [P] float32, all that is trained.
        parts: views of it, by which gradients are taken: A and B of each layer, then the camera's.
    """

    def __init__(self, network: nn.Module, rank: int, *, seed: int = 0) -> None:
        """Make a copy that computes what the network does.

        Args:
            network: frozen, on its device.
            rank: r, at least 1.
            seed: of A and of the camera's first layer.

        Raises:
            PriorError: if the network has no attention, or no time embedding, that is known.
        """
        self._linears = attention_linears(network)
        self._time = time_module(network)
        shapes: list[tuple[int, ...]] = [s for m in self._linears for s in _shapes(m, rank)]
        width = _width(self._time)
        camera = (
            (CAMERA_HIDDEN, CAMERA_FEATURES),
            (CAMERA_HIDDEN,),
            (width, CAMERA_HIDDEN),
            (width,),
        )
        shapes += camera
        ends = [0, *torch.tensor([math.prod(shape) for shape in shapes]).cumsum(0).tolist()]
        device = next(network.parameters()).device
        self.values = torch.zeros(ends[-1], device=device)
        spans = zip(pairwise(ends), shapes, strict=True)
        self.parts = [
            self.values[a:b].view(shape).detach().requires_grad_() for (a, b), shape in spans
        ]
        generator = torch.Generator().manual_seed(seed)
        for part in (*self.parts[: 2 * len(self._linears) : 2], self.parts[-4]):
            drawn = torch.randn(part.shape, generator=generator) * part.shape[-1] ** -0.5
            part.detach().copy_(drawn)

    @contextmanager
    def active(self, cameras: CameraBatch) -> Iterator[None]:
        """Let the network compute what the copy does, for the duration of a block.

        Args:
            cameras: of the B images that the network is called with.
        """
        *_, first, first_bias, last, last_bias = self.parts
        seen = camera_features(cameras.azimuth, cameras.elevation, cameras.distance, cameras.fov)
        hidden = F.silu(F.linear(seen.float(), first, first_bias))
        camera = F.linear(hidden, last, last_bias)
        with ExitStack() as hooks:
            for i, linear in enumerate(self._linears):
                down, up = self.parts[2 * i : 2 * i + 2]
                hook = linear.register_forward_hook(_changed(down, up))
                hooks.callback(hook.remove)
            hooks.callback(self._time.register_forward_hook(_shifted(camera)).remove)
            yield


def attention_linears(network: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of a network's attentions, in the order of its modules.

    Raises:
        PriorError: if there are none.
    """
    found: dict[nn.Linear, None] = {}
    for module in network.modules():
        if type(module).__name__.endswith("Attention"):
            found |= dict.fromkeys(m for m in module.modules() if isinstance(m, nn.Linear))
    if not found:
        raise PriorError(f"prior: expected a network with attention, got {type(network).__name__}")
    return list(found)


def time_module(network: nn.Module) -> nn.Module:
    """Return the module that makes a network's time embedding.

    Raises:
        PriorError: if there is none of a known name.
    """
    for name, module in network.named_modules():
        if name.rpartition(".")[2] in TIME_MODULES:
            return module
    raise PriorError(
        f"prior: expected a network with one of {', '.join(TIME_MODULES)}, "
        f"got {type(network).__name__}"
    )


def _width(module: nn.Module) -> int:
    """Return the width of what a module of linear layers returns."""
    return [m for m in module.modules() if isinstance(m, nn.Linear)][-1].out_features


def _shapes(linear: nn.Linear, rank: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (rank, linear.in_features), (linear.out_features, rank)


def _changed(down: Tensor, up: Tensor) -> Callable[..., Tensor]:
    """Return a forward hook that adds B A x to the output of a linear layer.

    The product is float32: gradients of half precision would underflow in the sums over a batch.
    """

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        change = F.linear(F.linear(at_least_float32(inputs[0]), down), up)
        return output + change.to(output.dtype)

    return hook


def _shifted(camera: Tensor) -> Callable[..., Tensor]:
    """Return a forward hook that adds the embedding of the camera to that of the time."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if output.shape != camera.shape:
            raise PriorError(
                f"prior: expected a time embedding {list(camera.shape)}, got {list(output.shape)}"
            )
        return output + camera.to(output.dtype)

    return hook
