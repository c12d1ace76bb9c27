"""Which family a pipeline folder is of.

The UNet's configuration decides: many pipelines share one UNet, and the name of the pipeline in
the index does not tell what the UNet needs.
"""

from __future__ import annotations

from dfast.errors import PriorError
from dfast.priors.loading.folder import INDEX, Folder

SUPPORTED = "Stable Diffusion 1.x, 2.x and XL, and DeepFloyd IF stage I"


def detect_family(folder: Folder) -> str:
    """Return the family of a folder: "sd", "sdxl" or "if".

    Args:
        folder: of which only the index and the UNet's configuration are read.

    Raises:
        PriorError: if parts are missing, or the folder is of another family.
    """
    index = folder.read(INDEX)
    pipeline = str(index.get("_class_name"))
    if "unet" not in index or not folder.has("unet"):
        if "unet" in index:
            raise folder.missing_error("unet")
        raise _foreign_error(folder, pipeline)
    listed = folder.listed()
    for part in ("vae", "scheduler"):
        if part in listed and not folder.has(part):
            raise folder.missing_error(part)
    unet = folder.read("unet", "config.json")
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


def _foreign_error(folder: Folder, what: str) -> PriorError:
    return folder.error(f"expected {SUPPORTED}, got a folder of {what}")
