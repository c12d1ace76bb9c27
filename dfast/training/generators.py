"""The two random generators of a run.

Cameras, lights, shading modes and timesteps are drawn on the host, so that they are the same on
every device and Python may branch on them without a synchronisation. Noise and ray jitter are drawn
on the device of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DEVICE_SEED_OFFSET = 0x9E3779B9
"""Added to the seed for the device generator: on the CPU both would draw the same stream otherwise.
It is 2^32 over the golden ratio, as in Knuth's multiplicative hashing."""


@dataclass
class Generators:
    """The generators of a run: `host` on the CPU, `device` on the device of the run.

    Attributes:
        seed: of the run; `host` began from it.
        host: on the CPU.
        device: on the device of the run.
    """

    seed: int
    host: torch.Generator
    device: torch.Generator

    @classmethod
    def seeded(cls, seed: int, device: torch.device) -> Generators:
        """Return both generators, seeded with different streams.

        Args:
            seed: >= 0.
            device: the device of the run.
        """
        host = torch.Generator().manual_seed(seed)
        return cls(seed, host, torch.Generator(device).manual_seed(seed + DEVICE_SEED_OFFSET))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the states of both generators, uint8 tensors on the host."""
        return {"host": self.host.get_state(), "device": self.device.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned, under the seed that was its run's."""
        self.host.set_state(state["host"].cpu())
        self.device.set_state(state["device"].cpu())
        self.seed = self.host.initial_seed()  # a part of the host's state
