"""From pictures to what a latent diffusion model diffuses, with a gradient to the picture only."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate
from torch.utils.checkpoint import checkpoint

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.weights import build_vae, fill, vae_key


class LatentEncoder:
    """The encoder half of a folder's VAE; the decoder is never read.

    Latents are the posterior's mean, so that the same picture always gives the same latents.
    """

    def __init__(
        self, folder: Folder, device: torch.device, dtype: torch.dtype, options: PriorConfig
    ) -> None:
        """Reads small files only. dtype: of the convolutions."""
        self.folder, self.device, self.dtype, self.options = folder, device, dtype, options
        config = folder.read("vae", "config.json")
        folder.weights("vae", half=dtype != torch.float32)
        self.factor = _factor(folder, config)
        """Pixels a side of a latent."""
        self.channels = int(folder.number("vae", "latent_channels", 4))
        """Of a latent."""
        scale = folder.number("vae", "scaling_factor", 0.18215)
        if config.get("latents_mean") is None or config.get("latents_std") is None:
            mean, spread = self._each("shift_factor", 0.0, -math.inf), torch.ones(1, 1, 1)
        else:  # as the pipelines have it: both or neither
            mean = self._each("latents_mean", None, -math.inf)
            spread = self._each("latents_std", None)
        self._shift, self._gain = mean.to(device), (scale / spread).to(device)
        cuda = device.type == "cuda"
        self.layout = torch.channels_last if cuda else torch.contiguous_format
        self.vae: Any = None
        self._linear: tuple[Tensor, Tensor, float] | None = None

    def _each(self, key: str, default: float | None, above: float = 0.0) -> Tensor:
        """One number of the configuration for all channels, or for each: [1 or C,1,1] float32."""
        found = self.folder.numbers("vae", key, default, above=above)
        if len(found) not in (1, self.channels):
            raise self.folder.wrong("vae", key, f"{self.channels} numbers", found)
        return torch.tensor(found, dtype=torch.float32).view(-1, 1, 1)

    def build(self) -> Any:
        """The VAE on the meta device, without its decoder."""
        return build_vae(self.folder, self.dtype)

    def load(self) -> None:
        """Read the weights, once."""
        if self.vae is not None:
            return
        vae = fill(self.build(), self.folder, "vae", self.device, vae_key)
        vae = vae.to(memory_format=self.layout)
        if self.options.vae_checkpointing or self.options.vae_tiling:
            # Nothing is drawn in the encoder, and asking for the random state cannot be recorded.
            again = functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
            vae.enable_gradient_checkpointing(gradient_checkpointing_func=again)
        if self.device.type == "cuda" and self.options.tuned:
            from dfast.priors.fused.tune import tune

            tune(vae.encoder)
        self.vae = vae

    def encode(self, image: Tensor) -> Tensor:
        """[B,3,H,W] in [-1, 1] to [B,C,H/factor,W/factor] float32."""
        self.load()
        if self.options.vae_tiling:
            # Half a side at most; diffusers overlaps by a quarter, which must be whole latents.
            latents = max(image.shape[-1] // self.factor // 8 * 4, 4)
            self.vae.enable_tiling()
            self.vae.tile_latent_min_size = latents
            self.vae.tile_sample_min_size = latents * self.factor
        pixels = image.to(self.dtype, memory_format=self.layout)
        mean = self.vae.encode(pixels, return_dict=False)[0].mean.float()
        return (mean - self._shift) * self._gain

    def encode_linear(self, image: Tensor, size: int) -> Tensor:
        """Latents by one affine map of each cell's mean colour, see `linear_map`.

        image: [B,3,H,W] in [-1, 1], averaged down to `size` pixels a side if it is larger.
        """
        matrix, offset, _ = self.linear_map()
        factor = image.shape[-1] // size
        small = avg_pool2d(image, factor) if factor > 1 else image
        return torch.einsum("cd,bdhw->bchw", matrix, small) + offset.view(1, -1, 1, 1)

    @torch.no_grad()
    def linear_map(self) -> tuple[Tensor, Tensor, float]:
        """(matrix [C,3], offset [C], residual): the affine map from mean colours to latents.

        The least-squares fit over pictures of flat colours, ramps and blobs, seen through the VAE
        itself at the first call. residual: root mean square of what it misses, over that of the
        latents around their mean.
        """
        if self._linear is None:
            pictures = _pictures(32 * self.factor).to(self.device)
            latents = torch.cat([self.encode(p[None]) for p in pictures])
            colors = avg_pool2d(pictures, self.factor)
            x = colors.transpose(0, 1).flatten(1).double().cpu()
            y = latents.transpose(0, 1).flatten(1).double().cpu()
            ones = torch.ones_like(x[:1])
            solution = torch.linalg.lstsq(torch.cat([x, ones]).t(), y.t()).solution.t()
            missed = y - solution @ torch.cat([x, ones])
            spread = y - y.mean(1, keepdim=True)
            fitted = solution.float().to(self.device)
            self._linear = fitted[:, :3], fitted[:, 3], float(missed.norm() / spread.norm())
        return self._linear


def _factor(folder: Folder, config: dict[str, Any]) -> int:
    """Pixels a side of a latent. Raises PriorError for a VAE of another kind."""
    kind, levels = config.get("_class_name", "AutoencoderKL"), config.get("block_out_channels")
    blocks, colors = config.get("down_block_types"), config.get("in_channels", 3)
    if kind != "AutoencoderKL":
        raise PriorError(
            f"prior {folder.name!r}: expected the VAE of Stable Diffusion, AutoencoderKL, "
            f"got {kind} in {folder.path / 'vae'}"
        )
    if not isinstance(levels, list) or not levels:
        raise folder.wrong("vae", "block_out_channels", "a list", levels)
    if not isinstance(blocks, list) or len(blocks) != len(levels):
        raise folder.wrong("vae", "down_block_types", f"a list of {len(levels)}", blocks)
    if colors != 3:
        raise folder.wrong("vae", "in_channels", "3", colors)
    return int(2 ** (len(levels) - 1))


def _pictures(size: int) -> Tensor:
    """[24,3,size,size] in [-1, 1]: eight flat colours, eight ramps, eight soft blobs."""
    corners = torch.tensor([[r, g, b] for r in (-1, 1) for g in (-1, 1) for b in (-1, 1)]).float()
    shape = (8, 3, size, size)
    flat = corners.view(8, 3, 1, 1) * 0.9
    across = torch.linspace(0, 1, size).view(1, 1, 1, size)
    turned = torch.where(torch.arange(8).view(8, 1, 1, 1) % 2 == 0, across, across.mT)
    ramps = torch.lerp(flat, flat.roll(3, 0), turned)
    coarse = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blobs = interpolate(coarse, (size, size), mode="bicubic", align_corners=True).clamp(-1, 1)
    return torch.cat([flat.expand(shape), ramps.expand(shape), blobs])
