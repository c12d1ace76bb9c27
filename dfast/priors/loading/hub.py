"""From the name of a prior to a folder on this machine; the network only when asked.

huggingface_hub keeps the files, in its own cache (HF_HOME, HF_HUB_CACHE), and is told of tokens in
its own ways. Nothing is fetched unless `download` is given, and nothing at all with HF_HUB_OFFLINE.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from dfast.errors import PriorError
from dfast.priors.loading.catalog import CATALOG, VANISHED, Entry, is_hub_id
from dfast.priors.loading.families import SUPPORTED, family
from dfast.priors.loading.folder import INDEX, STEMS, Folder, pick

PARTS = ("scheduler", "tokenizer", "tokenizer_2", *STEMS)


def find(name: str, *, download: bool = False) -> Folder:
    """The folder of a local path, an alias of the catalogue or a hub id "owner/name".

    download: fetch what is not cached, after saying on stderr what, on which terms and how large.
    Raises PriorError, each time with what to do.
    """
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        return _local(Path(path), name)
    if os.path.isfile(path):
        raise PriorError(
            f"prior: expected a diffusers folder, got the file {name!r}; convert it once with "
            "StableDiffusionPipeline.from_single_file(file).save_pretrained(folder)"
        )
    entry = CATALOG.get(name)
    if entry is None and not is_hub_id(name):
        a_path = name.startswith((".", "~")) or os.path.isabs(name) or name.count("/") > 1
        raise PriorError(
            f"prior: expected 'shapes', {', '.join(map(repr, CATALOG))}, a folder or a hub id "
            f"'owner/name', got {name!r}{': no such folder' if a_path else ''}"
        )
    repo = entry.hub if entry else name
    entry = entry or next((e for e in CATALOG.values() if e.hub == name), None)
    if download and not whole(repo):
        _download(repo, name, entry)
    folder = cached(repo)
    if folder is None:
        raise _absent(repo, name, entry)
    return Folder(folder, name, fetched=True)


def cached(repo: str) -> Path | None:
    """The cached snapshot of a hub repository, whole or not; None if there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, INDEX)
    return Path(found).parent if isinstance(found, str) else None


def whole(repo: str) -> bool:
    """Whether all that its index lists is cached, so that the hub need not be asked."""
    path = cached(repo)
    if path is None:
        return False
    folder = Folder(path, repo)
    try:
        for part in (part for part in folder.listed() if part in PARTS):
            if part == "scheduler":
                folder.read(part, "scheduler_config.json")
            elif part in STEMS:
                folder.read(part, "config.json")
                folder.weights(part)
            else:
                folder.check_tokenizer(part)
    except PriorError:
        return False
    return True


def _local(path: Path, name: str) -> Folder:
    if not (path / INDEX).is_file():
        raise PriorError(
            f"prior {name!r}: expected a diffusers folder with {INDEX}, got {path.resolve()} "
            "without one"
        )
    real = path.resolve()  # which a run remembers, to find it from any working folder
    return Folder(real, str(real))


def _absent(repo: str, name: str, entry: Entry | None) -> PriorError:
    if repo in VANISHED:
        return PriorError(
            f"prior: {repo} has left the hub and is not cached; use {VANISHED[repo]!r}"
        )
    what = f"{entry.gigabytes:g} GB, {entry.terms}" if entry else "read its licence first"
    nowhere = "not on this machine" if entry else "no such folder, and not in the hub's cache"
    return PriorError(
        f"prior {name!r}: {nowhere}; `dfast train ... --prior {name} --download` fetches "
        f"https://huggingface.co/{repo} ({what}) into {_cache()}"
    )


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _download(repo: str, name: str, entry: Entry | None) -> None:
    """Fetch what is needed of `repo` and not cached. Raises PriorError."""
    from huggingface_hub import HfApi, constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise PriorError(
            f"prior {name!r}: cannot be fetched while HF_HUB_OFFLINE is set, and {_cache()} does "
            "not have all of it"
        )
    try:
        info = HfApi().model_info(repo, files_metadata=True)
        sizes = {s.rfilename: s.size or 0 for s in info.siblings or []}
        wanted = needed(list(sizes), name)
        have = cached(repo)
        rest = sum(sizes[f] for f in wanted if have is None or not (have / f).is_file())
        _announce(repo, name, entry, info, rest)
        # What it is shows in the small files, before gigabytes of another family are fetched.
        snapshot_download(repo, allow_patterns=[f for f in wanted if f.endswith(".json")])
        if (small := cached(repo)) is not None:
            family(Folder(small, name, fetched=True))
        snapshot_download(repo, allow_patterns=wanted)
    except PriorError:
        raise
    except Exception as error:  # the hub's errors have many bases, and the network's many more
        raise _explained(error, repo, name, entry) from error


def needed(files: list[str], name: str) -> list[str]:
    """The files of a hub repository that dfast reads. Raises PriorError if it has no such files."""
    if INDEX not in files:
        raise PriorError(f"prior {name!r}: not a diffusers pipeline, it has no {INDEX}")
    if "unet/config.json" not in files:
        raise PriorError(f"prior {name!r}: expected {SUPPORTED}, got a repository without a unet")
    chosen = [INDEX]
    for part in PARTS:
        inside = [f for f in files if f.startswith(f"{part}/") and f.count("/") == 1]
        if part not in STEMS:
            chosen += [f for f in inside if f.endswith((".json", ".txt", ".model"))]
            continue
        if not inside:
            continue
        weights = pick([f.removeprefix(f"{part}/") for f in inside], STEMS[part])
        if not weights:
            raise PriorError(
                f"prior {name!r}: its {part} has no safetensors weights on the hub, and dfast "
                "reads no pickles"
            )
        chosen += [f"{part}/config.json", *(f"{part}/{w}" for w in weights)]
    return chosen


def _announce(repo: str, name: str, entry: Entry | None, info: Any, size: int) -> None:
    """Say what will be fetched. Raises PriorError if the disk has no room for it."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    if not os.access(cache, os.W_OK):
        raise PermissionError(errno.EACCES, "Permission denied", str(cache))
    free = shutil.disk_usage(cache).free
    card = getattr(info, "card_data", None)
    terms = entry.terms if entry else f"licence {getattr(card, 'license', None) or 'not stated'}"
    print(
        f"dfast: fetching {size / 1e9:.1f} GB of https://huggingface.co/{repo} ({terms}) into "
        f"{cache} ({free / 1e9:.1f} GB free)",
        file=sys.stderr,
        flush=True,
    )
    if size > free:
        raise _no_room(name, size, free)


def _no_room(name: str, size: int | None, free: int) -> PriorError:
    wants = f"needs {size / 1e9:.1f} GB" if size else "needs more room"
    return PriorError(
        f"prior {name!r}: {wants} in {_cache()}, which has {free / 1e9:.1f} GB free; make room, or "
        "set HF_HOME to a folder on another disk"
    )


def _explained(error: Exception, repo: str, name: str, entry: Entry | None) -> PriorError:
    """What the hub's error means to the person."""
    from huggingface_hub import errors

    url = f"https://huggingface.co/{repo}"
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__:
        causes.append(cause)
    if any(isinstance(e, errors.GatedRepoError) for e in causes):
        return PriorError(
            f"prior {name!r}: accept its licence at {url}, then log in with `hf auth login` (or "
            "set HF_TOKEN)"
        )
    if any(isinstance(e, errors.RepositoryNotFoundError) for e in causes):
        known = f"; use {VANISHED[repo]!r}" if repo in VANISHED else ""
        private = "" if known else "; if it is private, log in with `hf auth login`"
        return PriorError(f"prior {name!r}: {url} does not exist or has vanished{known}{private}")
    full = (errno.ENOSPC, errno.EDQUOT)
    if any(getattr(e, "errno", None) in full or "No space left" in str(e) for e in causes):
        return _no_room(name, None, shutil.disk_usage(_cache()).free)
    shut = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
    if any(isinstance(e, OSError) and e.errno in shut and e.filename for e in causes):
        return PriorError(
            f"prior {name!r}: {_cache()} cannot be written ({error}); set HF_HOME to a folder that "
            "can be"
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return PriorError(
        f"prior {name!r}: cannot fetch {url} ({reason}); check the network, then run the same "
        "command again: what has arrived is kept"
    )
