"""From the name of a prior to a folder on this machine.

huggingface_hub keeps the files in its own cache (HF_HOME, HF_HUB_CACHE) and reads tokens in its own
way. Nothing is fetched unless `download` is given, and nothing at all with HF_HUB_OFFLINE.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dfast._numbers import shown
from dfast.errors import DfastWarning, PriorError
from dfast.priors.loading.catalog import CATALOG, VANISHED, Entry, is_hub_id
from dfast.priors.loading.families import SUPPORTED, detect_family
from dfast.priors.loading.folder import INDEX, STEMS, Folder, one_line
from dfast.priors.loading.foreign import LORA_FILES
from dfast.priors.loading.weight_files import select_weight_files, variants_of

PARTS = ("scheduler", "tokenizer", "tokenizer_2", "tokenizer_3", *STEMS)


def check_download(download: object) -> None:
    """Raise PriorError unless it is said whether to fetch: "no" would be taken for a yes.

    Args:
        download: the argument of a caller.
    """
    if not isinstance(download, bool):
        raise PriorError(f"download: expected True or False, got {shown(download)}")


def find_folder(name: str, *, download: bool = False) -> Folder:
    """Return the folder of a prior.

    Args:
        name: a local path, an alias of the catalogue or a hub id "owner/name".
        download: fetch what is not cached, after printing to stderr what, on which terms and how
            large.

    Raises:
        PriorError: if there is none or it cannot be fetched; the message says what to do.
    """
    check_download(download)
    try:
        path = os.path.expanduser(name)
    except ValueError:  # a user's name with a null character
        path = name
    if os.path.isdir(path):
        return _local(Path(path), name)
    if os.path.lexists(path):
        raise _file_error(Path(path), name)
    entry = CATALOG.get(name)
    if entry is None and not is_hub_id(name):
        a_path = name.startswith((".", "~")) or os.path.isabs(name) or name.count("/") > 1
        raise PriorError(
            f"prior: expected 'shapes', {', '.join(map(repr, CATALOG))}, a folder or a hub id "
            f"'owner/name', got {_named(name)}{': no such folder' if a_path else ''}"
        )
    repo = entry.hub if entry else name
    entry = entry or next((e for e in CATALOG.values() if e.hub == name), None)
    if download and not is_complete(repo):
        download_files(
            repo,
            name,
            entry,
            select=lambda files: select_files(files, name),
            check=lambda path: detect_family(Folder(path, name, fetched=True)),
        )
    folder = cached_snapshot(repo)
    if folder is None:
        raise _not_here_error(repo, name, entry)
    return Folder(folder, name, fetched=True)


def cached_snapshot(repo: str, index: str = INDEX) -> Path | None:
    """Return the cached snapshot of a hub repository, complete or not; None if there is none.

    Args:
        repo: hub id "owner/name".
        index: file at its root that is fetched first.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, index)
    return Path(found).parent if isinstance(found, str) else None


def is_complete(repo: str) -> bool:
    """Return whether all parts in the index of a repository are cached.

    Args:
        repo: hub id "owner/name".
    """
    path = cached_snapshot(repo)
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
    real = Path(os.path.realpath(path))  # runs store it, and may be resumed from another folder
    if not os.path.lexists(real / INDEX):
        from dfast.priors.loading.hints import hint_for_folder

        # A link of another name can point into the hub's cache, whose names tell what they are.
        hint = hint_for_folder(real)
        raise PriorError(
            f"prior {_named(name)}: expected a diffusers folder with {INDEX}, got {one_line(real)} "
            f"without one{f'; {one_line(hint)}' if hint else ''}"
        )
    if beside := [name for name in LORA_FILES if os.path.isfile(real / name)]:
        warnings.warn(
            f"prior {_named(name)}: its {beside[0]} is not applied unless prior.lora "
            f"(--lora) names it: {one_line(real / beside[0])}",
            DfastWarning,
            stacklevel=2,
        )
    return Folder(real, str(real))


def _file_error(path: Path, name: str) -> PriorError:
    """Return the error for a path that is no folder, by what it is."""
    from dfast.priors.loading.hints import CONVERT, describe_file

    around = path.absolute().parent
    whole = [folder for folder in (around, around.parent) if os.path.isfile(folder / INDEX)]
    hint = f"convert it once with {CONVERT}"
    if not os.path.exists(path):
        return PriorError(f"prior: expected a diffusers folder, got the broken link {_named(name)}")
    if whole:
        hint = f"it belongs to the pipeline {whole[0]}: name that"
    elif what := describe_file(path) if os.path.isfile(path) else "":
        hint = f"it is {what}"
    return PriorError(
        f"prior: expected a diffusers folder, got the file {_named(name)}; {one_line(hint)}"
    )


def _named(name: str) -> str:
    """Return the name of a prior in quotes, cut if it is long."""
    return one_line(name, repr)


def _not_here_error(repo: str, name: str, entry: Entry | None) -> PriorError:
    if repo in VANISHED:
        return PriorError(
            f"prior: {repo} has left the hub and is not cached; use {VANISHED[repo]!r}"
        )
    what = f"{entry.gigabytes:g} GB, {entry.terms}" if entry else "read its licence first"
    nowhere = "not on this machine" if entry else "no such folder, and not in the hub's cache"
    return PriorError(
        f"prior {name!r}: {nowhere}; `dfast train ... --prior {name} --download` fetches "
        f"https://huggingface.co/{repo} ({what}) into {cache()}"
    )


def cache() -> Path:
    """Return the folder of the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def download_files(
    repo: str,
    name: str,
    entry: Entry | None,
    *,
    select: Callable[[list[str]], list[str]],
    check: Callable[[Path], object],
    index: str = INDEX,
) -> None:
    """Fetch those files of a repository that are needed and not cached.

    Args:
        repo: hub id "owner/name".
        name: as the user wrote it, for messages.
        entry: of the catalogue, if it has one.
        select: from all files to those that are needed.
        check: looks at the small files of a snapshot, before the large ones are fetched.
        index: file at its root that is fetched first.

    Raises:
        PriorError: if they cannot be fetched; and what `select` and `check` raise.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise PriorError(
            f"prior {name!r}: cannot be fetched while HF_HUB_OFFLINE is set, and {cache()} does "
            "not have all of it"
        )
    try:
        info = HfApi().model_info(repo, files_metadata=True)
        sizes = {s.rfilename: s.size or 0 for s in info.siblings or []}
        wanted = select(list(sizes))
        have = cached_snapshot(repo, index)
        rest = sum(sizes[f] for f in wanted if have is None or not (have / f).is_file())
        _announce(repo, name, entry, info, rest)
        # The small files tell the family, before gigabytes of an unsupported one are fetched.
        snapshot_download(repo, allow_patterns=[f for f in wanted if f.endswith(".json")])
        if (small := cached_snapshot(repo, index)) is not None:
            check(small)
        snapshot_download(repo, allow_patterns=wanted)
    except PriorError:
        raise
    except Exception as error:  # the hub's errors have many bases, and the network's many more
        raise _explain(error, repo, name, entry) from error


def select_files(files: list[str], name: str) -> list[str]:
    """Return the files of a hub repository that dfast reads.

    Args:
        files: all files of the repository.
        name: of the prior, for messages.

    Raises:
        PriorError: if the repository lacks a part that is needed.
    """
    if INDEX not in files:
        raise PriorError(f"prior {name!r}: not a diffusers pipeline, it has no {INDEX}")
    if not {"unet/config.json", "transformer/config.json"} & set(files):
        raise PriorError(
            f"prior {name!r}: expected {SUPPORTED}, got a repository without a unet or transformer"
        )
    chosen = [INDEX]
    for part in PARTS:
        inside = [f for f in files if f.startswith(f"{part}/") and f.count("/") == 1]
        if part not in STEMS:
            chosen += [f for f in inside if f.endswith((".json", ".txt", ".model", ".jinja"))]
            continue
        if not inside:
            continue
        names = [f.removeprefix(f"{part}/") for f in inside]
        weights = select_weight_files(names, STEMS[part])
        if not weights and (variants := sorted(variants_of(names, STEMS[part]))):
            raise PriorError(
                f"prior {name!r}: its {part} has weights only as variants, {', '.join(variants)}; "
                "fetch one of them with `hf download` into a folder, and name that"
            )
        if not weights:
            raise PriorError(
                f"prior {name!r}: its {part} has no safetensors weights on the hub, and dfast "
                "reads no pickles"
            )
        chosen += [f"{part}/config.json", *(f"{part}/{w}" for w in weights)]
    return chosen


def _announce(repo: str, name: str, entry: Entry | None, info: Any, size: int) -> None:
    """Print what will be fetched. Raises PriorError if the disk has no room for it."""
    into = cache()
    into.mkdir(parents=True, exist_ok=True)
    if not os.access(into, os.W_OK):
        raise PermissionError(errno.EACCES, "Permission denied", str(into))
    free = shutil.disk_usage(into).free
    card = getattr(info, "card_data", None)
    terms = entry.terms if entry else f"licence {getattr(card, 'license', None) or 'not stated'}"
    print(
        f"dfast: fetching {size / 1e9:.1f} GB of https://huggingface.co/{repo} ({terms}) into "
        f"{into} ({free / 1e9:.1f} GB free)",
        file=sys.stderr,
        flush=True,
    )
    if size > free:
        raise _disk_full_error(name, size, free)


def _disk_full_error(name: str, size: int | None, free: int) -> PriorError:
    wants = f"needs {size / 1e9:.1f} GB" if size else "needs more room"
    return PriorError(
        f"prior {name!r}: {wants} in {cache()}, which has {free / 1e9:.1f} GB free; make room, or "
        "set HF_HOME to a folder on another disk"
    )


def _explain(error: Exception, repo: str, name: str, entry: Entry | None) -> PriorError:
    """Return an error that says what to do about an error of huggingface_hub."""
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
        return _disk_full_error(name, None, shutil.disk_usage(cache()).free)
    denied = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
    if any(isinstance(e, OSError) and e.errno in denied and e.filename for e in causes):
        return PriorError(
            f"prior {name!r}: {cache()} cannot be written ({error}); set HF_HOME to a folder that "
            "can be"
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return PriorError(
        f"prior {name!r}: cannot fetch {url} ({reason}); check the network, then run the same "
        "command again: what has arrived is kept"
    )
