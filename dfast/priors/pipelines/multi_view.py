"""MVDream: the views of an object are denoised together, each told its camera.

Shi et al. 2023 (arXiv 2308.16512): Stable Diffusion 2.1 whose self-attention runs over the tokens
of all views, and whose time embedding has one of the camera added. The UNet is that of diffusers
with `class_embed_type` "projection"; what is published is in the layout of latent diffusion.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors.loading.compatibility import check_text
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.ldm_names import ldm_blocks, ldm_name
from dfast.priors.loading.networks import build_unet, unet_key
from dfast.priors.loading.weights import load_weights
from dfast.priors.pipelines.stable_diffusion import StableDiffusion
from dfast.priors.pipelines.text import TextCondition
from dfast.scene.cameras import CameraBatch

CAMERA_NUMBERS = 16
"""Of a camera: its matrix to the world, row by row."""
_PLAIN: dict[str, tuple[Any, ...]] = {
    "camera_dim": (CAMERA_NUMBERS,),
    "transformer_depth": (1, None),
    "dims": (2, None),
    "conv_resample": (True, None),
    "use_scale_shift_norm": (False, None),
    "resblock_updown": (False, None),
    "num_classes": (None,),
    "num_attention_blocks": (None,),
    "n_embed": (None,),
}
"""Values of the configuration that MVDream has; others are of networks that do more or less."""


class MultiViewDiffusion(StableDiffusion):
    """A `Prior` of the folder of an MVDreamPipeline, as mvdream_diffusers writes it."""

    family = "mvdream"
    joint_views = 4
    ldm = True
    default_sample_size = 32

    def __init__(self, folder: Folder, device: torch.device, options: PriorConfig) -> None:
        """Read the small files, see `TextPrior`."""
        self._config = unet_config(folder)
        super().__init__(folder, device, options)

    def _check_text_parts(self) -> None:
        check_text(self.folder, self.text_kind, self.text_parts, self.text_length, "context_dim")

    def _sample_size(self) -> int:
        return int(self.folder.number("unet", "image_size", self.default_sample_size))

    def encode_prompt(
        self, prompt: str, *, views: str = "camera", negative: str = ""
    ) -> TextCondition:
        """Encode the sentences of a run, see `Prior.encode_prompt`.

        The finest view conditioning is the camera itself, beside the prompt without an ending.

        Raises:
            PriorError: without view conditioning.
        """
        if views == "none":
            raise PriorError(
                f"prior {self.name!r}: expected guidance.view_conditioning 'camera' or 'words', "
                "since it is told the cameras, got 'none'"
            )
        own = "none" if views == "camera" else views
        return super().encode_prompt(prompt, views=own, negative=negative)

    def _build_unet(self) -> Any:
        unet = build_unet(self.folder, self.dtype, self._config)
        for name, module in unet.named_modules():
            if name.endswith(".attn1"):
                _join_views(module, self.joint_views)
        return unet

    def _load_unet(self, device: torch.device) -> Any:
        unet = self._build_unet()
        blocks = ldm_blocks(unet)
        return load_weights(
            unet, self.folder, "unet", device, lambda key: unet_key(ldm_name(key, blocks))
        )

    def _view_inputs(self, cameras: CameraBatch | None, times: int) -> dict[str, Tensor]:
        if cameras is None or len(cameras) % self.joint_views:
            got = "None" if cameras is None else len(cameras)
            raise PriorError(
                f"prior {self.name!r}: expected the cameras of a multiple of {self.joint_views} "
                f"views, got {got}"
            )
        return {"cameras": camera_matrices(cameras).repeat(times, 1)}

    def _denoise(self, noisy: Tensor, t: Tensor, text: dict[str, Tensor]) -> Tensor:
        """Return the output of the UNet, [N, C, h, w], of N / `joint_views` groups of views."""
        assert self._network is not None
        found: Tensor = self._network(
            noisy, t, text["hidden"], class_labels=text["cameras"], return_dict=False
        )[0]
        return found


def camera_matrices(cameras: CameraBatch) -> Tensor:
    """Return what MVDream knows of cameras, [B, 16]: their matrices to the world, row by row.

    Axes right, up and backward, z up and the front of an object towards +x, as in `CameraBatch`;
    positions are on the unit sphere, since the distance follows from the object's size in the
    image.

    Args:
        cameras: B cameras.
    """
    away = cameras.origin.norm(dim=-1, keepdim=True) + 1e-8
    upper = torch.cat([cameras.rotation, (cameras.origin / away)[..., None]], -1)
    last = torch.zeros_like(upper[:, :1])
    last[..., 3] = 1.0
    return torch.cat([upper, last], 1).flatten(1)


def unet_config(folder: Folder) -> dict[str, Any]:
    """Return the configuration in diffusers of the UNet of a folder.

    Raises:
        PriorError: if it has what MVDream's has not.
    """
    config = folder.read("unet", "config.json")
    for key, known in _PLAIN.items():
        if (got := config.get(key)) not in known or type(got) not in map(type, known):
            raise folder.value_error("unet", key, repr(known[0]), got)
    width = int(folder.number("unet", "model_channels", None))
    levels = [int(n) for n in folder.numbers("unet", "channel_mult", None)]
    at = set(folder.numbers("unet", "attention_resolutions", None))
    attends = [2**level in at for level in range(len(levels))]
    channels = [width * level for level in levels]
    by_width = config.get("num_head_channels", -1) not in (None, -1)
    size = int(folder.number("unet", "num_head_channels" if by_width else "num_heads", None))
    if indivisible := [c for c in channels if c % size]:
        expected = f"a divisor of the channels {indivisible[0]}"
        raise folder.value_error(
            "unet", "num_head_channels" if by_width else "num_heads", expected, size
        )
    return {
        "sample_size": int(folder.number("unet", "image_size", 32)),
        "in_channels": int(folder.number("unet", "in_channels", 4)),
        "out_channels": int(folder.number("unet", "out_channels", 4)),
        "block_out_channels": channels,
        "layers_per_block": int(folder.number("unet", "num_res_blocks", None)),
        # In diffusers the key of this name is the number of heads.
        "attention_head_dim": [c // size for c in channels] if by_width else size,
        "cross_attention_dim": int(folder.number("unet", "context_dim", None)),
        "use_linear_projection": True,
        "down_block_types": [f"{'CrossAttn' * a}DownBlock2D" for a in attends],
        "up_block_types": [f"{'CrossAttn' * a}UpBlock2D" for a in reversed(attends)],
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": CAMERA_NUMBERS,
    }


def _join_views(attention: nn.Module, views: int) -> None:
    """Let a self-attention run over the tokens of neighbouring images, [n L, C] at once.

    Hooks leave the names of its weights, and its class, to those who look for them.

    Args:
        attention: an Attention of diffusers, of rows [B, L, C].
        views: n, of which B is a multiple.
    """

    def join(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        rows, *others = inputs
        return (rows.unflatten(0, (-1, views)).flatten(1, 2), *others)

    def part(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.unflatten(1, (views, -1)).flatten(0, 1)

    attention.register_forward_pre_hook(join)
    attention.register_forward_hook(part)
