"""Networks of a pipeline folder, built without memory and filled straight from safetensors.

diffusers' own loader first makes random weights on the CPU; for the four billion parameters of
DeepFloyd's largest model that alone takes longer than reading them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfast._device import ran_out
from dfast.errors import PriorError
from dfast.priors.loading._quiet import quiet
from dfast.priors.loading.folder import Folder, Weights


class Float32(nn.Module):
    """A layer whose arithmetic and output are float32, whatever it is given."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.to(torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.float())


def build_unet(folder: Folder, dtype: torch.dtype) -> Any:
    """The UNet on the meta device; its last convolution is float32 (see MATH on w = 100).

    Rounding the output to half precision would be multiplied by the guidance scale.
    """
    from diffusers import UNet2DConditionModel

    unet = _meta(UNet2DConditionModel, folder, "unet", dtype)
    unet.conv_out = Float32(unet.conv_out)
    return unet


def build_vae(folder: Folder, dtype: torch.dtype) -> Any:
    """The VAE on the meta device, without its decoder."""
    from diffusers import AutoencoderKL

    vae = _meta(AutoencoderKL, folder, "vae", dtype)
    vae.decoder = vae.post_quant_conv = None
    return vae


def _meta(cls: Any, folder: Folder, part: str, dtype: torch.dtype) -> Any:
    config = folder.read(part, "config.json")
    try:
        with quiet(), torch.device("meta"):
            module = cls.from_config(config).to(dtype)
    except Exception as error:  # a foreign configuration fails in many ways
        raise folder.damaged(folder.path / part / "config.json", str(error)) from error
    return module.eval().requires_grad_(False)


def fill(
    module: nn.Module,
    folder: Folder,
    part: str,
    device: torch.device,
    rename: Callable[[str], str] = lambda key: key,
) -> Any:
    """`module`, built on the meta device, with the folder's weights, on `device`.

    Only the tensors it has are read, each cast to its type. rename: from the file's names to the
    module's. Raises PriorError when one is missing or has another shape, is quantised, or holds inf
    or NaN in the type it is cast to.
    """
    half = all(p.dtype != torch.float32 or "conv_out" in k for k, p in module.named_parameters())
    slots = dict(module.state_dict())
    state: dict[str, Tensor] = {}
    for file in folder.weights(part, half=half).files:
        with _opened(folder, file, device) as tensors:
            for key in tensors.keys():  # noqa: SIM118 (it is no mapping)
                slot = slots.get(rename(key))
                if slot is not None:
                    read = tensors.get_tensor(key)
                    if not read.is_floating_point():
                        raise _quantised(folder, file, key, str(read.dtype).removeprefix("torch."))
                    # Memory of a file is aligned as the file has it, which changes last bits.
                    cast = read.to(slot.dtype, copy=device.type == "cpu")
                    if not bool(cast.isfinite().all()):
                        raise _not_finite(read, cast, folder, file, key)
                    state[rename(key)] = cast
    for key, slot in slots.items():
        got = tuple(state[key].shape) if key in state else "nothing"
        if got != tuple(slot.shape):
            raise folder.misfit(part, key, tuple(slot.shape), got)
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False)


def check_floating(folder: Folder, weights: Weights) -> None:
    """Whether none are quantised, told by the headers. Raises PriorError."""
    for file in weights.files:
        with _opened(folder, file, torch.device("cpu")) as tensors:
            for key in tensors.keys():  # noqa: SIM118 (it is no mapping)
                kind = tensors.get_slice(key).get_dtype()
                # Older files keep the positions, 0 to 76.
                if not kind.startswith(("F", "BF")) and not key.endswith("position_ids"):
                    raise _quantised(folder, file, key, kind)


@contextmanager
def _opened(folder: Folder, file: Path, device: torch.device) -> Iterator[Any]:
    """A safetensors file. Raises PriorError if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device=str(device)) as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        if ran_out(error):
            raise
        raise folder.damaged(file, str(error)) from error


def _quantised(folder: Folder, file: Path, key: str, got: str) -> PriorError:
    """The error for weights that mean nothing without what they were scaled by."""
    return PriorError(
        f"prior {folder.name!r}: {file} is quantised, {key}: expected floating point, got {got}"
    )


def _not_finite(read: Tensor, cast: Tensor, folder: Folder, file: Path, key: str) -> PriorError:
    """The error for a tensor that is not finite: as it was read, or only as it was cast."""
    if not bool(read.float().isfinite().all()):
        return folder.damaged(file, f"{key} holds inf or NaN")
    setting = "vae_precision" if file.parent.name == "vae" else "precision"
    kind = str(cast.dtype).removeprefix("torch.")
    return PriorError(
        f'prior {folder.name!r}: {file}: {key} overflows {kind}; set prior.{setting} = "fp32"'
    )


def unet_key(key: str) -> str:
    """A UNet's tensor under the name that `build_unet` gives it."""
    return key.replace("conv_out.", "conv_out.layer.") if key.startswith("conv_out.") else key


_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_key(key: str) -> str:
    """A VAE's tensor under today's name; files of 2022 named their attention otherwise."""
    *path, name, leaf = key.split(".") if key.count(".") else ["", key, ""]
    return ".".join([*path, _OLD[name], leaf]) if name in _OLD else key


def size_of(module: nn.Module) -> int:
    """Bytes of its parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)
