"""The state of a training, in one safetensors file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dfast.priors.embedded.model import save_folder


class Checkpoint:
    """Weights, their running average and moments of a model that is trained."""

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        average: list[Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        """Bind to what is saved and loaded; nothing is read or written.

        Args:
            folder: of the file.
            model: any; `start_from` and `export` need its modules `unet` and `text_encoder`.
            average: running average of each of its parameters.
            optimizers: each over some of its parameters, together over all.
        """
        self.folder, self.model, self.average = folder, model, average
        self.optimizers = optimizers
        self.file = folder / "state.safetensors"

    def _named(self) -> list[tuple[str, Tensor, Tensor]]:
        """Return (name, parameter, average) of each parameter."""
        pairs = zip(self.model.named_parameters(), self.average, strict=True)
        return [(name, parameter, average) for (name, parameter), average in pairs]

    def _states(self) -> dict[Tensor, dict[Tensor, Any]]:
        """Return the dictionary of states in which each parameter's is kept."""
        return {
            parameter: optimizer.state
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    def save(self, step: int, seconds: float) -> None:
        """Write the state; an interrupted write leaves the file as it was.

        Args:
            step: steps taken.
            seconds: training time spent.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        states = self._states()
        for name, parameter, average in self._named():
            tensors[f"weight.{name}"], tensors[f"average.{name}"] = parameter.detach(), average
            for key, value in states[parameter].get(parameter, {}).items():
                tensors[f"moment.{key}.{name}"] = value
        tensors = {k: v.contiguous().cpu() for k, v in tensors.items()}
        metadata = {"step": str(step), "spent": str(seconds)}
        save_file(tensors, f"{self.file}.tmp", metadata=metadata)
        os.replace(f"{self.file}.tmp", self.file)

    @torch.no_grad()
    def load(self) -> tuple[int, float]:
        """Load the state, and return (steps taken, seconds spent); (0, 0) if there is none."""
        if not self.file.exists():
            return 0, 0.0
        from safetensors import safe_open

        tensors = load_file(self.file)
        moments: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key in tensors:
            if key.startswith("moment."):
                _, moment, name = key.split(".", 2)
                moments[name][moment] = tensors[key]
        states = self._states()
        for name, parameter, average in self._named():
            parameter.copy_(tensors[f"weight.{name}"])
            average.copy_(tensors[f"average.{name}"])
            saved = {k: _placed(v, parameter) for k, v in moments[name].items()}
            states[parameter][parameter] = saved
        with safe_open(self.file, "pt") as file:
            metadata = file.metadata()
        return int(metadata["step"]), float(metadata["spent"])

    @torch.no_grad()
    def start_from(self, folder: Path) -> None:
        """Load the weights of a saved pipeline folder, also as their average.

        Args:
            folder: one that `model.save_folder` wrote.
        """
        load_weights(self.model, folder)
        for _, parameter, average in self._named():
            average.copy_(parameter)

    @torch.no_grad()
    def export(self, folder: Path, tokenizer: Any, scheduler: Any) -> None:
        """Write the averaged weights as a pipeline folder; the model takes them over.

        Args:
            folder: created if needed.
            tokenizer: saved along.
            scheduler: saved along.
        """
        for _, parameter, average in self._named():
            parameter.copy_(average)
        folder.mkdir(parents=True, exist_ok=True)
        unet, text_encoder = map(self.model.get_submodule, ("unet", "text_encoder"))
        save_folder(folder, unet, text_encoder, tokenizer, scheduler)


def _placed(moment: Tensor, parameter: Tensor) -> Tensor:
    """Return a moment on the device of its parameter.

    One of the parameter's shape gets its memory layout, too: fused optimizers take that for granted
    without a look at the strides.
    """
    if moment.shape != parameter.shape:
        return moment.to(parameter.device)
    return torch.empty_like(parameter).copy_(moment)


@torch.no_grad()
def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a saved pipeline folder.

    Args:
        model: with the modules `unet` and `text_encoder`. Weights for a guidance scale stay what
            they are where the folder has none. Where the model has none, those of a distilled
            folder are left out: it predicts what they give for the scale 0, whose features are 0.
        folder: one that `model.save_folder` wrote.
    """
    for part in ("unet", "text_encoder"):
        (file,) = (folder / part).glob("*.safetensors")
        weights = load_file(file)
        for name, parameter in model.get_submodule(part).named_parameters():
            if name in weights or not name.endswith("cond_proj.weight"):
                parameter.copy_(weights[name])
