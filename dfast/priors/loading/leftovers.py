"""Tensors of a weights file that the network has no place for: what each of them means.

Dropping one in silence answers with another model than the one that was saved. What changes the
meaning of the others by its name alone (a scale, an adapter) is refused in `foreign`; here, what is
inside a layer of the network, which its configuration leaves out. A tensor that is known to be
unread (a VAE's decoder, a counter) is passed over. Any other stands beside the network, in a module
that nothing calls: most are remains of a training, so they are named in a warning and do not end
the run.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping

from dfast.errors import DfastWarning
from dfast.priors.loading.folder import NETWORK, ROOT, Folder, Weights, one_line

_INPUTS = ("add_embedding", "class_embedding", "encoder_hid_proj", "position_net", "quant_conv")
"""Modules of UNets and VAEs that exist only if their configuration says so."""

_COUNTERS = (
    r"(^|\.)(position_ids|num_batches_tracked|n_averaged|(ema_|optimization_|global_)?(step|decay)|"
    r"num_updates|epoch|v_pred|ztsnr)$"
)
_UNREAD_TEXT = (
    r"^(text_model\.)?(text_projection\.|logit_scale$|vision_model\.|visual_projection\.|"
    r"lm_head\.|visual\.|decoder\.|encoder\.embed_tokens\.)"
)
_UNREAD_VAE = rf"{_COUNTERS}|^(decoder|post_quant_conv|loss)\."
_UNREAD = {
    ROOT: re.compile(rf"{_COUNTERS}|^logit_scale$"),  # a CLIP's, which no quantiser wrote
    "unet": re.compile(_COUNTERS),
    "transformer": re.compile(_COUNTERS),
    "vae": re.compile(_UNREAD_VAE),
    NETWORK: re.compile(_UNREAD_VAE),
    **{
        part: re.compile(f"{_COUNTERS}|{_UNREAD_TEXT}")
        for part in ("text_encoder", "text_encoder_2", "text_encoder_3")
    },
}
"""Names of tensors that are known to be unread, by part."""

_WRAPPERS = {
    "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module",
}  # fmt: skip
"""Segments that torch.compile, FSDP, checkpoint wrappers and DataParallel put into names."""
_HOLDERS = {
    "base_model", "model", "language_model", "unet", "transformer", "vae", "text_encoder",
    "text_encoder_2", "text_encoder_3",
}  # fmt: skip
"""Leading segments, of programs that save an object which holds the network."""


def unwrapped(key: str) -> str:
    """Return the name of a tensor without what wrappers of its network put into it.

    Args:
        key: name in a file.
    """
    path = [segment for segment in key.split(".") if segment not in _WRAPPERS]
    while len(path) > 1 and path[0] in _HOLDERS:
        del path[0]
    return ".".join(path)


def is_unread(part: str, key: str) -> bool:
    """Return whether a tensor is known to be none that dfast needs.

    Args:
        part: of the folder, such as "vae".
        key: its name without wrappers.
    """
    return _UNREAD[part].search(key) is not None


def assign(
    folder: Folder,
    part: str,
    weights: Weights,
    expected: Iterable[str],
    rename: Callable[[str], str] = lambda key: key,
) -> tuple[dict[str, str], list[str]]:
    """Return (the name in the network by the name in the files, the names that have no place).

    Args:
        folder: the pipeline folder.
        part: of the folder.
        weights: its files.
        expected: names in the network.
        rename: from names in files without wrappers to names in the network.

    Raises:
        PriorError: if two tensors have the same place.
    """
    expected = set(expected)
    places: dict[str, str] = {}
    taken: dict[str, str] = {}  # the other way round
    rest: list[str] = []
    for header in weights.headers.values():
        for key in header.tensors:
            target = rename(key)
            target = target if target in expected else rename(unwrapped(key))
            if target not in expected:
                rest.append(key)
                continue
            if target in taken:
                raise folder.twice_error(part, target, taken[target], key)
            places[key], taken[target] = target, key
    return places, rest


def check_leftovers(
    folder: Folder, part: str, keys: Iterable[str], expected: Iterable[str]
) -> None:
    """Refuse or name in a warning what a network had no place for; see the head of this module.

    Args:
        folder: the pipeline folder.
        part: of the folder.
        keys: names of the tensors.
        expected: names in the network.

    Raises:
        PriorError: for tensors inside a layer of the network.
    """
    names = {key: unwrapped(key) for key in keys}
    rest = [key for key, name in names.items() if not is_unread(part, name)]
    modules = {_module(name) for name in expected} | set(_INPUTS)
    if inside := [key for key in rest if _module(names[key]) in modules]:
        raise folder.error(
            f"{part}: its weights have {some(inside)}, for which the network of its config.json "
            "has no place, and which would change it; take both files from the same model"
        )
    if rest:
        text = f"{part} has tensors that dfast does not know and leaves out: {some(rest)}"
        warnings.warn(str(folder.error(text)), DfastWarning, stacklevel=2)


def _module(name: str) -> str:
    """Return the top-level module of a tensor; text encoders are saved with and without a base."""
    return name.removeprefix("text_model.").split(".")[0]


def some(keys: list[str]) -> str:
    """Return up to three names, and how many more there are."""
    first = ", ".join(one_line(key)[:120] for key in sorted(keys)[:3])
    return f"{first} and {len(keys) - 3} more" if len(keys) > 3 else first


def renamed(weights: Weights) -> Mapping[str, str]:
    """Return the names without wrappers of those tensors whose names have some."""
    keys = [key for header in weights.headers.values() for key in header.tensors]
    return {key: name for key in keys if (name := unwrapped(key)) != key}
