"""Networks of a pipeline folder: built without memory, then loaded straight from safetensors.

The loader of diffusers first initialises random weights on the CPU, which for the four billion
parameters of DeepFloyd's largest model takes longer than reading the file.
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
from dfast.priors.loading.folder import Folder, Weights
from dfast.priors.loading.quiet import quiet


class Float32(nn.Module):
    """Run a layer in float32, whatever the type of its input."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.to(torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output in float32."""
        return self.layer(x.float())


def build_unet(folder: Folder, dtype: torch.dtype) -> Any:
    """Build the UNet on the meta device.

    Its last convolution is float32: guidance multiplies the difference of two predictions by up to
    a hundred, and with it the rounding of a half-precision output.

    Args:
        folder: the pipeline folder.
        dtype: of all other layers.

    Raises:
        PriorError: if its configuration cannot be used.
    """
    from diffusers import UNet2DConditionModel

    unet = _build_on_meta(UNet2DConditionModel, folder, "unet", dtype)
    unet.conv_out = Float32(unet.conv_out)
    return unet


def build_vae(folder: Folder, dtype: torch.dtype) -> Any:
    """Build the VAE on the meta device, without its decoder.

    Args:
        folder: the pipeline folder.
        dtype: of its layers.

    Raises:
        PriorError: if its configuration cannot be used.
    """
    from diffusers import AutoencoderKL

    vae = _build_on_meta(AutoencoderKL, folder, "vae", dtype)
    vae.decoder = vae.post_quant_conv = None
    return vae


def _build_on_meta(cls: Any, folder: Folder, part: str, dtype: torch.dtype) -> Any:
    config = folder.read(part, "config.json")
    try:
        with quiet(), torch.device("meta"):
            module = cls.from_config(config).to(dtype)
    except Exception as error:  # a foreign configuration fails in many ways
        raise folder.damaged_error(folder.path / part / "config.json", str(error)) from error
    return module.eval().requires_grad_(False)


def load_weights(
    module: nn.Module,
    folder: Folder,
    part: str,
    device: torch.device,
    rename: Callable[[str], str] = lambda key: key,
) -> Any:
    """Give a module that was built on the meta device the weights of a folder.

    Only the tensors that the module has are read, each cast to the module's type.

    Args:
        module: on the meta device.
        folder: the pipeline folder.
        part: whose weights, such as "unet".
        device: where they go.
        rename: from names in the files to names in the module.

    Returns:
        The module, with frozen parameters on `device`.

    Raises:
        PriorError: if a tensor is missing, has another shape, is quantised, or holds inf or NaN in
            the module's type.
    """
    half = all(p.dtype != torch.float32 or "conv_out" in k for k, p in module.named_parameters())
    expected = dict(module.state_dict())
    state: dict[str, Tensor] = {}
    for file in folder.weights(part, half=half).files:
        with _opened(folder, file, device) as tensors:
            for key in tensors.keys():  # noqa: SIM118 (it is no mapping)
                target = expected.get(rename(key))
                if target is None:
                    continue
                read = tensors.get_tensor(key)
                if not read.is_floating_point():
                    kind = str(read.dtype).removeprefix("torch.")
                    raise _quantised_error(folder, file, key, kind)
                # Tensors in mapped memory keep the alignment of the file, which changes the last
                # bits of products on the CPU: copy them.
                cast = read.to(target.dtype, copy=device.type == "cpu")
                if not bool(cast.isfinite().all()):
                    raise _not_finite_error(read, cast, folder, file, key)
                state[rename(key)] = cast
    for key, target in expected.items():
        got = tuple(state[key].shape) if key in state else "nothing"
        if got != tuple(target.shape):
            raise folder.shape_error(part, key, tuple(target.shape), got)
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False)


def check_not_quantised(folder: Folder, weights: Weights) -> None:
    """Check by the headers that all weights are floating point.

    Args:
        folder: the pipeline folder.
        weights: the files of one part.

    Raises:
        PriorError: if one is not.
    """
    for file in weights.files:
        with _opened(folder, file, torch.device("cpu")) as tensors:
            for key in tensors.keys():  # noqa: SIM118 (it is no mapping)
                kind = tensors.get_slice(key).get_dtype()
                # Older files store the positions 0 to 76 as integers.
                if not kind.startswith(("F", "BF")) and not key.endswith("position_ids"):
                    raise _quantised_error(folder, file, key, kind)


@contextmanager
def _opened(folder: Folder, file: Path, device: torch.device) -> Iterator[Any]:
    """Open a safetensors file for a block. Raises PriorError if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt", device=str(device)) as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        if ran_out(error):
            raise
        raise folder.damaged_error(file, str(error)) from error


def _quantised_error(folder: Folder, file: Path, key: str, got: str) -> PriorError:
    """Return the error for quantised weights, whose scales dfast does not know."""
    return PriorError(
        f"prior {folder.name!r}: {file} is quantised, {key}: expected floating point, got {got}"
    )


def _not_finite_error(
    read: Tensor, cast: Tensor, folder: Folder, file: Path, key: str
) -> PriorError:
    """Return the error for a tensor that is not finite in the file, or only after the cast."""
    if not bool(read.float().isfinite().all()):
        return folder.damaged_error(file, f"{key} holds inf or NaN")
    setting = "vae_precision" if file.parent.name == "vae" else "precision"
    kind = str(cast.dtype).removeprefix("torch.")
    return PriorError(
        f'prior {folder.name!r}: {file}: {key} overflows {kind}; set prior.{setting} = "fp32"'
    )


def unet_key(key: str) -> str:
    """Return the name that `build_unet` gives a tensor of a UNet's file."""
    return key.replace("conv_out.", "conv_out.layer.") if key.startswith("conv_out.") else key


_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_key(key: str) -> str:
    """Return today's name of a tensor of a VAE's file; attention had other names in 2022."""
    *path, name, leaf = key.split(".") if key.count(".") else ["", key, ""]
    return ".".join([*path, _OLD_NAMES[name], leaf]) if name in _OLD_NAMES else key


def size_of(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)
