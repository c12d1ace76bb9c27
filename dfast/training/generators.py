"""The two seeded generators of a run, and draws that spread evenly over a batch.

Cameras, lights, looks and timesteps are drawn on the host, so that they are the same on every
device and the loop can branch on them without a synchronisation. Noise and ray jitter are drawn
where the tensors live.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Generators:
    """`host` lives on the CPU, `device` on the device of the run."""

    host: torch.Generator
    device: torch.Generator

    @classmethod
    def seeded(cls, seed: int, device: torch.device) -> Generators:
        """Both from one seed >= 0, with different streams."""
        host = torch.Generator().manual_seed(seed)
        return cls(host, torch.Generator(device).manual_seed(seed + 0x9E3779B9))

    def state_dict(self) -> dict[str, Tensor]:
        return {"host": self.host.get_state(), "device": self.device.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.host.set_state(state["host"].cpu())
        self.device.set_state(state["device"].cpu())
