"""From images to the latents of a latent diffusion model; the gradient flows to the image only.

What differs between the kinds of VAEs is in `VAES`. Most give a Gaussian, whose mean is taken.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pixel_unshuffle
from torch.utils.checkpoint import checkpoint

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.foreign import check_names
from dfast.priors.loading.loader_errors import calls_of
from dfast.priors.loading.networks import VAES, build_vae, encode_images, vae_key
from dfast.priors.loading.weights import load_weights
from dfast.priors.pipelines.half_vae import halved

_TUNED = ("AutoencoderKL", "AutoencoderKLFlux2")
"""VAEs whose encoder `dfast.priors.fused.tune` knows."""


class LatentEncoder:
    """The encoder half of a folder's VAE; the decoder is never read.

    Latents are the mean of the posterior, so the same image always has the same latents.

    Attributes:
        factor: pixels a side of a latent cell.
        channels: of a latent cell.
        dtype: of the convolutions; loading may make it float16, see `half_vae`.
    """

    def __init__(
        self,
        folder: Folder,
        device: torch.device,
        dtype: torch.dtype,
        options: PriorConfig,
        part: str = "vae",
        *,
        halve: bool = False,
    ) -> None:
        """Read the small files.

        Args:
            folder: the pipeline folder.
            device: where the encoder will run.
            dtype: of the convolutions.
            options: how it is loaded and run.
            part: of the folder.
            halve: run in float16 all the same if the weights allow it, see `half_vae`.

        Raises:
            PriorError: if files are missing or damaged, or the VAE is of another kind.
        """
        self.folder, self.device, self.dtype, self.options = folder, device, dtype, options
        self.part, self.halve = part, halve
        config = folder.read(part, "config.json")
        check_names(folder, part, folder.weights(part, half=dtype != torch.float32))
        self.name = str(config.get("_class_name", "AutoencoderKL"))
        self.factor = _downscale_factor(folder, part, config, self.name)
        self.kind = VAES[self.name]
        stored = int(folder.number(part, self.kind.channels, 4))
        self.channels = stored * self.kind.gathered**2
        self._check_options()
        scale = folder.number(part, "scaling_factor", self.kind.scale)
        if config.get("latents_mean") is None or config.get("latents_std") is None:
            mean, std = self._per_channel("shift_factor", 0.0, -math.inf), torch.ones(1, 1, 1)
        else:  # like the pipelines, which use both or neither
            mean = self._per_channel("latents_mean", None, -math.inf)
            std = self._per_channel("latents_std", None)
        self._shift, self._gain = mean.to(device), (scale / std).to(device)
        flat = device.type != "cuda" or self.kind.video
        self.layout = torch.contiguous_format if flat else torch.channels_last
        self.vae: Any = None
        self._linear: tuple[Tensor, Tensor, float] | None = None

    def _check_options(self) -> None:
        """Raise PriorError for settings that this kind of VAE cannot follow."""
        for key in ("vae_checkpointing", "vae_tiling"):
            if self.name != "AutoencoderKL" and getattr(self.options, key):
                raise PriorError(f"prior.{key}: expected false with an {self.name}, got true")

    def _per_channel(self, key: str, default: float | None, above: float = 0.0) -> Tensor:
        """Return one number for all channels or one for each, [1 or C, 1, 1] float32."""
        found = self.folder.numbers(self.part, key, default, above=above)
        if len(found) not in (1, self.channels):
            raise self.folder.value_error(self.part, key, f"{self.channels} numbers", found)
        return torch.tensor(found, dtype=torch.float32).view(-1, 1, 1)

    def build(self) -> Any:
        """Return the VAE on the meta device, without its decoder."""
        return build_vae(self.folder, self.dtype, self.part)

    @neutral_torch_state(keep_grad=True)
    def load(self) -> None:
        """Load the weights, once."""
        if self.vae is not None:
            return
        vae = load_weights(self.build(), self.folder, self.part, self.device, vae_key)
        vae = vae.to(memory_format=self.layout)
        if self.halve:
            images = _check_images(32 * self.factor).to(self.device, memory_format=self.layout)
            if (half := halved(vae, images, encode_images)) is not None:
                vae, self.dtype = half, torch.float16
        if self.options.vae_checkpointing or self.options.vae_tiling:
            # The encoder draws nothing, and a CUDA graph cannot record a read of the RNG state.
            recompute = functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
            vae.enable_gradient_checkpointing(gradient_checkpointing_func=recompute)
        if self.device.type == "cuda" and self.options.tuned and self.name in _TUNED:
            from dfast.priors.fused.tune import tune

            tune(vae.encoder)
        self.vae = vae

    @neutral_torch_state(keep_grad=True)
    def encode(self, images: Tensor) -> Tensor:
        """Return latents [B, C, H / factor, W / factor] float32; differentiable.

        Args:
            images: [B, 3, H, W] in [-1, 1].
        """
        self.load()
        if self.options.vae_tiling:
            # Tiles are at most half a side; diffusers overlaps them by a quarter, which must be a
            # whole number of latent cells.
            latents = max(images.shape[-1] // self.factor // 8 * 4, 4)
            self.vae.enable_tiling()
            self.vae.tile_latent_min_size = latents
            self.vae.tile_sample_min_size = latents * self.factor
        pixels = images.to(self.dtype, memory_format=self.layout)
        with calls_of(self.folder, self.part, self.device):
            return self.normalized(encode_images(self.vae, pixels).float())

    def normalized(self, encoded: Tensor) -> Tensor:
        """Return what the model diffuses, from what the VAE's encoder gives.

        Args:
            encoded: [B, C', h, w] float32, C' being the channels of the VAE.
        """
        if self.kind.gathered == 1:
            return (encoded - self._shift) * self._gain
        statistics, epsilon = self.vae.bn, self.vae.config.batch_norm_eps
        mean, variance = (
            v.view(1, -1, 1, 1) for v in (statistics.running_mean, statistics.running_var)
        )
        return (pixel_unshuffle(encoded, self.kind.gathered) - mean) / (variance + epsilon).sqrt()

    @torch.no_grad()
    def residual(self, other: LatentEncoder) -> float:
        """Return how far the latents of another encoder are from this one's.

        Args:
            other: an encoder to the same latents.

        Returns:
            The root mean square of the difference over 24 images, over that of this encoder's
            latents around their mean.
        """
        images = _calibration_images(32 * self.factor).to(self.device)
        own, others = (
            torch.cat([e.encode(image[None]) for image in images]) for e in (self, other)
        )
        spread = own - own.mean((0, 2, 3), keepdim=True)
        return float((others - own).norm() / spread.norm())

    def encode_linear(self, images: Tensor, size: int) -> Tensor:
        """Return latents [B, C, size, size] by an affine map of each cell's mean colour.

        Args:
            images: [B, 3, H, H] in [-1, 1], H a multiple of `size`; averaged down to it.
            size: cells a side.
        """
        matrix, offset, _ = self.linear_map()
        factor = images.shape[-1] // size
        small = avg_pool2d(images, factor) if factor > 1 else images
        return torch.einsum("cd,bdhw->bchw", matrix, small) + offset.view(1, -1, 1, 1)

    @neutral_torch_state(keep_grad=True)
    @torch.no_grad()
    def linear_map(self) -> tuple[Tensor, Tensor, float]:
        """Return (matrix [C, 3], offset [C], residual): the affine map from colours to latents.

        The first call fits it by least squares to the VAE's latents of flat colours, ramps and
        blobs. The residual is the root mean square of what the map misses, over that of the
        latents around their mean.
        """
        if self._linear is None:
            images = _calibration_images(32 * self.factor).to(self.device)
            latents = torch.cat([self.encode(image[None]) for image in images])
            colors = avg_pool2d(images, self.factor)
            x = colors.transpose(0, 1).flatten(1).double().cpu()
            y = latents.transpose(0, 1).flatten(1).double().cpu()
            ones = torch.ones_like(x[:1])
            solution = torch.linalg.lstsq(torch.cat([x, ones]).t(), y.t()).solution.t()
            missed = y - solution @ torch.cat([x, ones])
            spread = y - y.mean(1, keepdim=True)
            fitted = solution.float().to(self.device)
            self._linear = fitted[:, :3], fitted[:, 3], float(missed.norm() / spread.norm())
        return self._linear


def _downscale_factor(folder: Folder, part: str, config: dict[str, Any], name: str) -> int:
    """Return the pixels a side of a latent cell. Raises PriorError for a VAE of another kind."""
    if name not in VAES:
        expected = ", ".join(VAES)
        raise folder.error(f"expected a VAE of {expected}, got {name} in {folder.path / part}")
    kind = VAES[name]
    levels, colors = config.get(kind.levels), config.get("in_channels", 3)
    if not isinstance(levels, list) or not levels:
        raise folder.value_error(part, kind.levels, "a list", levels)
    blocks = config.get("down_block_types")
    named = kind.levels == "block_out_channels"
    if named and (not isinstance(blocks, list) or len(blocks) != len(levels)):
        raise folder.value_error(part, "down_block_types", f"a list of {len(levels)}", blocks)
    if colors != 3:
        raise folder.value_error(part, "in_channels", "3", colors)
    return int(2 ** (len(levels) - 1)) * kind.gathered


def _calibration_images(size: int) -> Tensor:
    """Return [24, 3, size, size] in [-1, 1]: eight flat colours, eight ramps, eight soft blobs."""
    corners = torch.tensor([[r, g, b] for r in (-1, 1) for g in (-1, 1) for b in (-1, 1)]).float()
    shape = (8, 3, size, size)
    flat = corners.view(8, 3, 1, 1) * 0.9
    across = torch.linspace(0, 1, size).view(1, 1, 1, size)
    turned = torch.where(torch.arange(8).view(8, 1, 1, 1) % 2 == 0, across, across.mT)
    ramps = torch.lerp(flat, flat.roll(3, 0), turned)
    coarse = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blobs = interpolate(coarse, (size, size), mode="bicubic", align_corners=True).clamp(-1, 1)
    return torch.cat([flat.expand(shape), ramps.expand(shape), blobs])


def _check_images(size: int) -> Tensor:
    """Return [9, 3, size, size] in [-1, 1]: flat colours, ramps and blobs with grain, and noise.

    Without grain what is flat is rounded the same way everywhere, in any precision of ten bits.
    """
    noise = torch.rand(9, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    plain = _calibration_images(size)[::3]
    return torch.cat([torch.lerp(plain, noise[:8], 0.05), noise[8:]])
