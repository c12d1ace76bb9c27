"""Which family a pipeline folder is of: told by its UNet, since many pipelines share one."""

from __future__ import annotations

from dfast.errors import PriorError
from dfast.priors.loading.folder import INDEX, Folder

SUPPORTED = "Stable Diffusion 1.x, 2.x and XL, and DeepFloyd IF stage I"


def family(folder: Folder) -> str:
    """ "sd", "sdxl" or "if". Raises PriorError that names what the folder is instead."""
    index = folder.read(INDEX)
    kind = str(index.get("_class_name"))
    if "unet" not in index or not folder.has("unet"):
        if "unet" in index:
            raise folder.partial("unet")
        raise _foreign(folder, kind)
    listed = folder.listed()
    for part in ("vae", "scheduler"):
        if part in listed and not folder.has(part):
            raise folder.partial(part)
    unet = folder.read("unet", "config.json")
    if unet.get("_class_name", "UNet2DConditionModel") != "UNet2DConditionModel":
        raise _foreign(folder, kind)
    channels = unet.get("in_channels", 4), unet.get("out_channels", 4)
    # Labels, and models distilled to be told the guidance scale, are for other pipelines.
    told = ("class_embed_type", "num_class_embeds", "time_cond_proj_dim")
    added = unet.get("addition_embed_type")
    if all(unet.get(key) is None for key in told):
        if channels == (4, 4) and added is None and folder.has("vae"):
            return "sd"
        # SDXL's refiner is told an aesthetic score in place of the target size.
        if channels == (4, 4) and added == "text_time" and folder.has("tokenizer"):
            return "sdxl"
        if channels in ((3, 6), (3, 3)) and added == "text":
            return "if"
    raise _foreign(folder, f"{kind} with a UNet of {channels[0]} to {channels[1]} channels")


def _foreign(folder: Folder, what: str) -> PriorError:
    return PriorError(f"prior {folder.name!r}: expected {SUPPORTED}, got a folder of {what}")
