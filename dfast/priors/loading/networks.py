"""Networks of a pipeline folder, built without memory, and the names of their weights in files.

The loader of diffusers first initialises random weights on the CPU, which for the four billion
parameters of DeepFloyd's largest model takes longer than reading the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dfast.priors.loading.folder import Folder
from dfast.priors.loading.imports import class_of
from dfast.priors.loading.loader_errors import raise_misconfigured
from dfast.priors.loading.quiet import quiet


class Float32(nn.Module):
    """Run a layer in float32, whatever the type of its input."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.to(torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output in float32."""
        return self.layer(x.float())


def build_unet(folder: Folder, dtype: torch.dtype, config: Mapping[str, Any] | None = None) -> Any:
    """Build the UNet on the meta device.

    Its last convolution is float32: guidance multiplies the difference of two predictions by up to
    a hundred, and with it the rounding of a half-precision output.

    Args:
        folder: the pipeline folder.
        dtype: of all other layers.
        config: of the UNet in diffusers; None is that of the folder.

    Raises:
        PriorError: if its configuration cannot be used.
    """
    unet = _build("UNet2DConditionModel", folder, "unet", dtype, torch.device("meta"), config)
    unet.conv_out = Float32(unet.conv_out)
    return unet


class _EmptyOnMeta(TorchFunctionMode):
    """Put what `torch.empty` makes on the meta device: weights, but no table that is computed.

    Transformers compute tables of positions when they are built, which no file has.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **kwargs | ({"device": "meta"} if func is torch.empty else {}))


def build_transformer(folder: Folder, cls: str, last: str, dtype: torch.dtype) -> Any:
    """Build a transformer whose weights are on the meta device.

    Its last layer is float32, see `build_unet`, and so are those that its class keeps in it.

    Args:
        folder: the pipeline folder.
        cls: class of diffusers.
        last: name of the last layer in the module.
        dtype: of all other layers.

    Raises:
        PriorError: if its configuration cannot be used.
    """
    built = _build(cls, folder, "transformer", dtype, _EmptyOnMeta())
    wide = set(getattr(built, "_keep_in_fp32_modules", None) or ())
    for name, tensor in [*built.named_parameters(), *built.named_buffers()]:
        if wide & set(name.split(".")):
            tensor.data = tensor.data.float()
    above, _, name = last.rpartition(".")
    holder = built.get_submodule(above)
    setattr(holder, name, Float32(getattr(holder, name)))
    return built


class _Statistics(nn.Module):
    """The mean and variance of latents, in float32, that a batch normalisation has gathered."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name).float())


class VaeKind(NamedTuple):
    """What differs between the classes of VAEs."""

    levels: str = "block_out_channels"
    """key of the configuration: a list with an entry for each level; all but one halve the image"""
    channels: str = "latent_channels"
    """key of the configuration: channels of a latent cell"""
    scale: float = 1.0
    """`scaling_factor`, if the configuration does not say"""
    gathered: int = 1
    """cells a side that become one of what is diffused, normalised by stored statistics"""
    video: bool = False
    """whether it encodes videos, of which an image is one of one frame"""


TINY = "AutoencoderTiny"
"""A distilled encoder, whose output is what the model diffuses, without a scale."""
VAES = {
    "AutoencoderKL": VaeKind(scale=0.18215),
    "AutoencoderDC": VaeKind("encoder_block_out_channels"),
    "AutoencoderKLFlux2": VaeKind(gathered=2),
    "AutoencoderKLWan": VaeKind("dim_mult", "z_dim", video=True),
    "AutoencoderKLQwenImage": VaeKind("dim_mult", "z_dim", video=True),
    TINY: VaeKind("encoder_block_out_channels"),
}
"""By the class in diffusers."""


def build_vae(folder: Folder, dtype: torch.dtype, part: str = "vae") -> Any:
    """Build the VAE on the meta device, without its decoder.

    Args:
        folder: the pipeline folder.
        dtype: of its layers; statistics of its latents stay in float32.
        part: of the folder.

    Raises:
        PriorError: if its configuration cannot be used.
    """
    kind = folder.config(part).get("_class_name", "AutoencoderKL")
    vae = _build(kind, folder, part, dtype, torch.device("meta"))
    vae.decoder = vae.post_quant_conv = None
    if VAES[kind].video:
        vae.decoder = nn.Identity()  # a VAE of videos counts the layers of both halves
    if hasattr(vae, "bn"):
        vae.bn = _Statistics(vae.bn)
    return vae


def encode_images(vae: Any, pixels: Tensor) -> Tensor:
    """Return what a VAE's encoder gives for images, or its mean if that is random, [B, C, h, w].

    Args:
        vae: one of `VAES`.
        pixels: [B, 3, H, W].
    """
    video = VAES[type(vae).__name__].video
    encoded = vae.encode(pixels.unsqueeze(2) if video else pixels, return_dict=False)[0]
    found: Tensor = encoded if isinstance(encoded, Tensor) else encoded.mean
    return found.squeeze(2) if video else found


def _build(
    cls: str,
    folder: Folder,
    part: str,
    dtype: torch.dtype,
    inside: Any,
    config: Mapping[str, Any] | None = None,
) -> Any:
    """Return a frozen network of a part's configuration, built inside a context."""
    config = folder.read(part, "config.json") if config is None else config
    made = class_of("diffusers", cls)
    try:
        with quiet("diffusers"), inside:
            module = made.from_config(config).to(dtype)
    except Exception as error:  # a foreign configuration fails in many ways
        raise_misconfigured(folder, part, error)
    return module.eval().requires_grad_(False)


def transformer_key(last: str) -> Callable[[str], str]:
    """Return the map to names that `build_transformer` gives from those of a file.

    Args:
        last: name of the last layer.
    """
    start = f"{last}."
    return lambda key: key.replace(start, f"{start}layer.") if key.startswith(start) else key


def unet_key(key: str) -> str:
    """Return the name that `build_unet` gives a tensor of a UNet's file."""
    return key.replace("conv_out.", "conv_out.layer.") if key.startswith("conv_out.") else key


_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_key(key: str) -> str:
    """Return today's name of a tensor of a VAE's file; attention had other names in 2022."""
    *path, name, leaf = key.split(".") if key.count(".") else ["", key, ""]
    return ".".join([*path, _OLD_NAMES[name], leaf]) if name in _OLD_NAMES else key
