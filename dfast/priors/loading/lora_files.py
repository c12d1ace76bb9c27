"""LoRA files: which layers they change, and how strongly.

A layer W becomes W + strength (alpha / r) B A (Hu et al. 2021, arXiv 2106.09685, section 4.1), and
alpha is where loaders go wrong in silence. kohya-ss writes it as a tensor beside each layer,
diffusers and PEFT into the metadata of the file, PEFT also into adapter_config.json beside it. A
file that says nothing of it was trained with alpha = r, as diffusers takes it.

Layers have dotted names (diffusers, PEFT), or names with underscores for dots (kohya-ss); here all
have underscores.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dfast._files import user_path
from dfast.config.guidance import lora_strength
from dfast.errors import PriorError
from dfast.priors.loading.folder import one_line
from dfast.priors.loading.headers import Header, read_header, read_json
from dfast.priors.loading.leftovers import some

NAMES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
"""Files of which a folder has one."""
CONFIG = "adapter_config.json"
METADATA = "lora_adapter_metadata"
"""Key of the metadata at which diffusers keeps the configurations of PEFT, as JSON."""
DENOISER = "denoiser"
"""The UNet or transformer, whichever the folder has."""

_PAIRS = (
    (".lora_down.weight", ".lora_up.weight"),  # kohya-ss
    (".lora_A.weight", ".lora_B.weight"),  # PEFT
    (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora.down.weight", ".lora.up.weight"),  # diffusers of 2023
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ("_lora.down.weight", "_lora.up.weight"),
)
"""Endings of the names of A and B."""
_KOHYA = {
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
_DOTTED = {
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
}


class LoraLayer(NamedTuple):
    """One layer that a file changes."""

    name: str
    """of the module, with underscores"""
    down: str
    """name of A in the file, [r, in]; of a convolution [r, in, h, w]"""
    up: str
    """name of B in the file, [out, r] or [out, r, 1, 1]"""
    scale: float
    """alpha / r"""


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file, and the strength with which it is applied."""

    path: Path
    strength: float
    alpha_from: str
    """where alpha is from, for people"""
    parts: Mapping[str, tuple[LoraLayer, ...]]
    """by part: `DENOISER` or a text encoder"""

    def __str__(self) -> str:
        """Return what the file does, in a line."""
        scales = sorted({layer.scale for layers in self.parts.values() for layer in layers})
        span = " to ".join(dict.fromkeys(f"{scale:.6g}" for scale in (scales[0], scales[-1])))
        whole = " to ".join(
            dict.fromkeys(f"{self.strength * scale:.6g}" for scale in (scales[0], scales[-1]))
        )
        counts = ", ".join(
            f"{len(layers)} layers of the {part}" for part, layers in self.parts.items()
        )
        return one_line(
            f"lora {self.path.name}: {counts}, scale {whole} = strength {self.strength:g} x "
            f"alpha / rank {span} ({self.alpha_from})"
        )


def open_lora(text: str) -> LoraFile:
    """Read what a LoRA file changes; its matrices are not read.

    Args:
        text: FILE or FILE:STRENGTH; a folder stands for the one of `NAMES` that is in it.

    Raises:
        PriorError: if it cannot be read, or has anything but the matrices of a plain LoRA.
    """
    where, strength = lora_strength(text)
    path = _file_of(user_path(where))
    header = _header(path)
    pairs = _pairs(path, header)
    stated = _stated(path, header)
    alphas = _read_alphas(path, [key for s in pairs if (key := f"{s}.alpha") in header.tensors])
    parts: dict[str, list[LoraLayer]] = {}
    sources: dict[str, None] = {}
    for stem, (down, up) in pairs.items():
        rank = header.tensors[down].shape[0]
        part, name, prefix = _place(stem)
        if (alpha := alphas.get(f"{stem}.alpha")) is not None:
            scale, source = alpha / rank, "alpha in the file"
        else:
            scale, source = _stated_scale(path, stated, prefix, name, rank)
        sources[source] = None
        parts.setdefault(part, []).append(LoraLayer(name.replace(".", "_"), down, up, scale))
    whole = {part: tuple(layers) for part, layers in parts.items()}
    return LoraFile(path, strength, ", ".join(sources), whole)


def lora_error(path: Path, text: str) -> PriorError:
    """Return an error about a LoRA file, in one line."""
    return PriorError(f"prior.lora: {one_line(str(path), repr)}: {one_line(text)}")


def _file_of(path: Path) -> Path:
    """Return the file that a path stands for."""
    if path.is_dir():
        found = [path / name for name in NAMES if (path / name).is_file()]
        if len(found) != 1:
            raise lora_error(path, f"expected one of {' and '.join(NAMES)} in the folder")
        return found[0]
    if not path.is_file():
        raise lora_error(path, "expected a safetensors file, which is not there")
    return path


def _header(path: Path) -> Header:
    try:
        return read_header(path)
    except OSError as error:
        raise lora_error(path, f"cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise lora_error(
            path, f"expected safetensors, whose loading runs no code ({error})"
        ) from error


def _pairs(path: Path, header: Header) -> dict[str, tuple[str, str]]:
    """Return the names of (A, B) by what comes before their endings."""
    pairs: dict[str, tuple[str, str]] = {}
    for key in header.tensors:
        for down, up in _PAIRS:
            if key.endswith(down):
                stem = key.removesuffix(down)
                pairs[stem] = key, stem + up
                break
    known = {name for pair in pairs.values() for name in pair} | {f"{s}.alpha" for s in pairs}
    if rest := [key for key in header.tensors if key not in known]:
        raise lora_error(
            path,
            f"expected nothing but the matrices of a LoRA and their alpha, got {some(rest)}; other "
            "kinds of adapters (DoRA, LoHa, LoKr) must be merged by the program that made them",
        )
    if not pairs:
        raise lora_error(path, "expected the matrices of a LoRA, got none")
    for down, up in pairs.values():
        if up not in header.tensors:
            raise lora_error(path, f"incomplete, {up} is missing")
        a, b = header.tensors[down].shape, header.tensors[up].shape
        if min(len(a), len(b)) < 2 or not 0 < a[0] == b[1]:
            raise lora_error(path, f"{up}: expected [out, {a[0] if a else '?'}], got {list(b)}")
    return pairs


def _place(stem: str) -> tuple[str, str, str]:
    """Return the part of a layer, its name in there, and the prefix of the part."""
    for prefix, part in _KOHYA.items():
        if stem.startswith(prefix):
            return part, stem.removeprefix(prefix), prefix
    stem = stem.removeprefix("base_model.model.")
    found = next((prefix for prefix in _DOTTED if stem.startswith(prefix)), "")
    name = stem.removeprefix(found)
    if ".processor." in name:  # diffusers of 2023: of attn1.to_q it was attn1.processor.to_q_lora
        name = name.replace(".processor.", ".")
        name += ".0" if name.endswith("to_out") else ""
    return _DOTTED.get(found, DENOISER), name, found


def _stated(path: Path, header: Header) -> dict[str, Any]:
    """Return what PEFT or kohya-ss state in the metadata, or in a file beside; {} if nothing."""
    try:
        if METADATA in header.metadata:
            found = json.loads(header.metadata[METADATA])
        elif os.path.isfile(path.parent / CONFIG):
            found = read_json(path.parent / CONFIG)
        else:
            alpha = header.metadata.get("ss_network_alpha", "None")
            return {} if alpha == "None" else {"lora_alpha": float(alpha)}
        if not isinstance(found, dict):
            raise ValueError("expected a table")
        return found
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise lora_error(path, f"its configuration cannot be read ({error})") from error


def _stated_scale(
    path: Path, stated: Mapping[str, Any], prefix: str, name: str, rank: int
) -> tuple[float, str]:
    """Return alpha / r of a layer by a configuration of PEFT, and where it is from.

    Args:
        path: of the LoRA file.
        stated: the configuration, perhaps one for each part with the part's prefix.
        prefix: of the layer's part.
        name: of the layer.
        rank: r.
    """

    def value(key: str, default: Any) -> Any:
        return stated.get(prefix + key, stated.get(key, default))

    def pattern(key: str, default: Any) -> Any:
        """Return the value of the first pattern that the name ends with, as PEFT matches them."""
        table = value(key, None) or {}
        found = (v for k, v in table.items() if re.fullmatch(rf"(.*\.)?({k})", name))
        return next(found, default)

    if value("use_dora", False) or value("lora_bias", False):
        raise lora_error(path, "expected a plain LoRA, got DoRA or one with biases")
    try:
        if (r := pattern("rank_pattern", value("r", rank))) != rank:
            raise ValueError(f"rank {r} is stated of {name}, which has {rank}")
        if (found := pattern("alpha_pattern", value("lora_alpha", None))) is None:
            return 1.0, "no alpha is stated: taken as the rank"
        alpha = float(found)
        if not math.isfinite(alpha):
            raise ValueError(f"alpha is {alpha}")
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise lora_error(path, f"its configuration does not fit ({error})") from error
    # Rank-stabilised LoRA, Kalajdzievski 2023, arXiv 2312.03732.
    divisor = math.sqrt(rank) if value("use_rslora", False) else rank
    return alpha / divisor, "alpha of its configuration"


def _read_alphas(path: Path, keys: list[str]) -> dict[str, float]:
    """Return the alpha of each layer that has one as a tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            found = {key: float(tensors.get_tensor(key)) for key in keys}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise lora_error(path, f"its alpha cannot be read ({error})") from error
    if bad := [key for key, value in found.items() if not math.isfinite(value)]:
        raise lora_error(path, f"{bad[0]}: expected a finite number, got {found[bad[0]]}")
    return found
