"""What a path is that is no pipeline folder, and what to name instead.

People name the folder above, the folder below, a part, an adapter or a checkpoint in one file. Only
names of files and small files are read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dfast.priors.loading.folder import INDEX
from dfast.priors.loading.foreign import FOREIGN, LORA_FILES
from dfast.priors.loading.headers import read_header, read_json
from dfast.priors.loading.leftovers import unwrapped
from dfast.priors.loading.weight_files import PICKLES

CONVERT = "StableDiffusionPipeline.from_single_file(file).save_pretrained(folder)"
_HUB_FOLDER = re.compile(r"models--(.+)")
_MERGE = "load it into the pipeline that it was made for, then fuse_lora(), unload_lora_weights() "
_LORA = f"a LoRA, which only changes another model: {_MERGE}and save_pretrained(folder)"
_CHECKPOINT = f"a checkpoint in one file: convert it once with {CONVERT}"
_EMBEDDING = "a textual inversion, which is no model"


def hint_for_folder(path: Path) -> str:
    """Return what a folder without an index is and what to name instead; "" if it is not known.

    Args:
        path: an existing folder.
    """
    names = _names(path)
    for hint in (_cache_hint(path, names), _below_hint(path, names), _part_hint(path, names)):
        if hint:
            return hint
    if {"run.json", "config.toml"} <= names:
        return "it is a run of dfast, not a model"
    if any(name in names for name in LORA_FILES):
        return f"it is {_LORA}"
    weights = sorted(n for n in names if n.endswith((".safetensors", ".gguf", *PICKLES)))
    for name in weights[:20]:
        if what := describe_file(path / name):
            return f"its {name} is {what}"
    return ""


def describe_file(path: Path) -> str:
    """Return what kind of file of weights a path is, with advice; "" if it is not known.

    Args:
        path: an existing file.
    """
    if path.suffix == ".gguf":
        return "quantised (GGUF), which dfast does not read"
    if path.suffix in PICKLES and "lora" in path.name.lower():
        return _LORA
    if path.suffix in PICKLES and path.name.startswith("learned_embeds"):
        return _EMBEDDING
    if path.suffix in (".ckpt", ".pth", ".pt", ".bin"):
        return f"{_CHECKPOINT} (a pickle, which can run code: only if you trust it)"
    if path.suffix != ".safetensors":
        return ""
    try:
        names = [unwrapped(key) for key in read_header(path).tensors]
        whole = [key for key in read_header(path).tensors if "diffusion_model." in key]
    except (OSError, ValueError):
        return f"damaged (no safetensors header); convert a whole one with {CONVERT}"
    for pattern, what, _ in FOREIGN:
        found = [name for name in names if pattern.search(name.lower())]
        if len(found) <= len(names) // 2 or whole:
            continue
        if "LoRA" in what:
            return _LORA
        return _EMBEDDING if "textual" in what else f"{what}, no pipeline"
    if whole or any(name.startswith(("input_blocks.", "first_stage_model.")) for name in names):
        return _CHECKPOINT
    return _network_of(names)


def _network_of(names: list[str]) -> str:
    """Return which network tensors of these names are of; "" if it is not known."""
    tops = {name.split(".")[0] for name in names}
    if {"down_blocks", "up_blocks"} <= tops:
        return "a UNet alone, without the other parts of a pipeline"
    if {"encoder", "decoder"} <= tops and any(name.startswith("encoder.down") for name in names):
        return "a VAE alone, without the other parts of a pipeline"
    if tops & {"text_model", "shared"}:
        return "a text encoder alone, without the other parts of a pipeline"
    if tops & {"transformer_blocks", "joint_blocks", "double_blocks", "double_stream_modulation"}:
        return "a transformer alone, without the other parts of a pipeline"
    return ""


def _cache_hint(path: Path, names: set[str]) -> str:
    """Return a hint for a folder of the hub's cache above a snapshot."""
    if match := _HUB_FOLDER.fullmatch(path.name):
        repo = match[1].replace("--", "/", 1)
        if snapshots := _snapshots(path):
            return f"it is a folder of the hub's cache: name {repo}, or {snapshots[0]}"
        for name in sorted(_names(path / "snapshots")):
            if os.path.isdir(snapshot := path / "snapshots" / name):
                hint = hint_for_folder(snapshot)
                return f"in the snapshot of {repo} below it, {hint}" if hint else ""
        return f"it is a folder of the hub's cache without a snapshot: fetch {repo} again"
    if path.name == "snapshots" and (snapshots := _snapshots(path.parent)):
        return f"it is a folder of the hub's cache: name {snapshots[0]}"
    found = filter(None, map(_HUB_FOLDER.fullmatch, sorted(names)))
    known = [match[1].replace("--", "/", 1) for match in found]
    if known:
        return f"it is the hub's cache: name one of its models, such as {', '.join(known[:3])}"
    return ""


def _snapshots(path: Path) -> list[Path]:
    """Return the snapshots with a pipeline in a folder of the cache, the current one first."""
    try:
        current = (path / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        current = ""
    found = [path / "snapshots" / name for name in sorted(_names(path / "snapshots"))]
    found = [folder for folder in found if os.path.isfile(folder / INDEX)]
    return sorted(found, key=lambda folder: folder.name != current)


def _below_hint(path: Path, names: set[str]) -> str:
    """Return a hint for a folder above pipelines, or for a pipeline that has lost its index."""
    inside = [name for name in sorted(names) if os.path.isfile(path / name / INDEX)]
    if inside:
        return f"name {' or '.join(str(path / name) for name in inside[:3])}"
    if os.path.isfile(path / "unet" / "config.json"):
        if "scheduler" not in names:
            return (
                "it has a unet and is no whole pipeline: load it as the unet of the pipeline that "
                "it was made from, and save_pretrained(folder)"
            )
        return f"it has the parts of a pipeline; copy {INDEX} of the original into it"
    return ""


def _part_hint(path: Path, names: set[str]) -> str:
    """Return a hint for the folder of one network, inside a pipeline or alone."""
    if "config.json" not in names:
        return ""
    try:
        config = read_json(path / "config.json")
    except (OSError, ValueError):
        return ""
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    kind = str(config.get("_class_name") or first or "")[:80]
    if not kind:
        return ""
    if os.path.isfile(path.parent / INDEX):
        return f"it is one part of a pipeline ({kind}): name {path.parent}"
    if kind == "UNet2DConditionModel":
        return (
            "it is a UNet alone: load it as the unet of the pipeline that it was made from, and "
            "save_pretrained(folder)"
        )
    return f"it is one network ({kind}), not a pipeline"


def _names(path: Path) -> set[str]:
    """Return the names in a folder; none if it cannot be listed."""
    try:
        return set(os.listdir(path))
    except OSError:
        return set()
