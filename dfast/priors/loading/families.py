"""Which family a pipeline folder is of.

The configuration of the UNet or transformer decides: many pipelines share one network, and the name
of the pipeline in the index does not tell what the network needs.
"""

from __future__ import annotations

from typing import Any

from dfast.errors import PriorError
from dfast.priors.loading.folder import INDEX, Folder

SUPPORTED = (
    "Stable Diffusion 1.x, 2.x, XL and 3.x, DeepFloyd IF stage I, MVDream, PixArt-Sigma, Sana, "
    "Lumina-Image 2, Z-Image, FLUX.2 klein, PRX, Qwen-Image or Wan 2.1"
)
TRANSFORMERS = {
    "PixArtTransformer2DModel": "pixart",
    "SD3Transformer2DModel": "sd3",
    "SanaTransformer2DModel": "sana",
    "Lumina2Transformer2DModel": "lumina2",
    "ZImageTransformer2DModel": "z-image",
    "Flux2Transformer2DModel": "flux2",
    "PRXTransformer2DModel": "prx",
    "QwenImageTransformer2DModel": "qwen-image",
    "WanTransformer3DModel": "wan",
}
"""The family of each class of transformer."""
MULTI_VIEW_UNET = "MultiViewUNetModel"
"""Class of MVDream's UNet; diffusers does not have it."""
_FOREIGN_PIPELINES = (
    "PixArtAlpha", "Flux2Pipeline", "SanaVideo", "SanaSprint", "Omni", "QwenImageEdit",
    "QwenImageLayered",
)  # fmt: skip
"""Parts of the names of pipelines that share such a class and call it in another way."""
_FOREIGN_KEYS = ("use_layer3d_rope", "use_additional_t_cond", "zero_cond_t")
"""Settings of such a class in models that are given images: Qwen-Image-Layered and -Edit."""


def detect_family(folder: Folder) -> str:
    """Return the family of a folder: "sd", "sdxl", "if", "mvdream" or one of `TRANSFORMERS`.

    Args:
        folder: of which only the index and the configuration of its UNet or transformer are read.

    Raises:
        PriorError: if parts are missing, or the folder is of another family.
    """
    index = folder.read(INDEX)
    pipeline = str(index.get("_class_name"))
    if "unet" not in index and "transformer" in index:
        return _transformer_family(folder, index, pipeline)
    if "unet" not in index or not folder.has("unet"):
        if "unet" in index:
            raise folder.missing_error("unet")
        raise _foreign_error(folder, pipeline)
    _check_parts(folder, ("vae", "scheduler"))
    unet = folder.read("unet", "config.json")
    if unet.get("_class_name") == MULTI_VIEW_UNET and folder.has("vae"):
        if unet.get("ip_dim"):
            raise folder.error(
                "expected MVDream, which takes text alone, got ImageDream, which takes an image "
                f"(ip_dim {unet['ip_dim']!r} of its unet)"
            )
        return "mvdream"
    if "camera_proj" in folder.listed():
        raise folder.error(
            f"expected MVDream's cameras in its unet (a {MULTI_VIEW_UNET}), got a part camera_proj "
            "of their own"
        )
    if unet.get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        raise _foreign_error(folder, pipeline)
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if (kind := unet.get("encoder_hid_dim_type")) not in (None, "text_proj"):
        raise folder.error(
            f"unet: expected one that takes text alone, got encoder_hid_dim_type {kind!r} in its "
            "config.json; call unload_ip_adapter() of the pipeline before saving"
        )
    # Class labels and guidance-distilled models need inputs that no supported family has.
    foreign = ("class_embed_type", "num_class_embeds", "time_cond_proj_dim")
    added = unet.get("addition_embed_type")
    if all(unet.get(key) is None for key in foreign):
        if channels == (4, 4) and added is None and folder.has("vae"):
            return "sd"
        # SDXL's refiner has no first tokenizer; it takes an aesthetic score, not a target size.
        if channels == (4, 4) and added == "text_time" and folder.has("tokenizer"):
            return "sdxl"
        if channels in ((3, 6), (3, 3)) and added == "text":
            return "if"
    raise _foreign_error(
        folder, f"{pipeline} with a UNet of {channels[0]} to {channels[1]} channels"
    )


def _transformer_family(folder: Folder, index: dict[str, Any], pipeline: str) -> str:
    """Return the family of a folder with a transformer. Raises PriorError."""
    _check_parts(folder, ("transformer", "vae", "scheduler"))
    config = folder.read("transformer", "config.json")
    listed = index["transformer"]
    named = listed[-1] if isinstance(listed, list) and listed else None
    kind = str(config.get("_class_name", named))  # PRX was published without it
    if kind == "Transformer2DModel" and pipeline == "PixArtSigmaPipeline":
        kind = "PixArtTransformer2DModel"  # its name when PixArt-Sigma was published
    foreign = any(name in pipeline for name in _FOREIGN_PIPELINES)
    foreign |= any(config.get(key) for key in _FOREIGN_KEYS)
    # Wan 2.2 divides the noise levels between two transformers, or the image between timesteps.
    foreign |= "transformer_2" in folder.listed() or bool(index.get("expand_timesteps"))
    if kind not in TRANSFORMERS or foreign or not folder.has("vae"):
        raise _foreign_error(folder, f"{pipeline} with a {kind}")
    for key, found in (("is_distilled", index), ("guidance_embeds", config)):
        if found.get(key):
            raise folder.error(
                f"expected weights with a true unconditional branch, got guidance-distilled ones "
                f"({key} is true); take the base model"
            )
    return TRANSFORMERS[kind]


def _check_parts(folder: Folder, parts: tuple[str, ...]) -> None:
    """Raise PriorError for a part that the index lists and the folder lacks."""
    listed = folder.listed()
    for part in parts:
        if part in listed and not folder.has(part):
            raise folder.missing_error(part)


def _foreign_error(folder: Folder, what: str) -> PriorError:
    return folder.error(f"expected {SUPPORTED}, got a folder of {what}")
