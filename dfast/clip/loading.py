"""From the name of a CLIP to a folder of transformers on this machine, checked and read.

The rules are those of priors: nothing is fetched unless `download` is given, only safetensors are
read, and every folder that cannot be used ends in one line. The code is that of priors, too, with a
folder that is one part (`dfast.priors.loading.folder.ROOT`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch

from dfast.clip.preprocessing import Preprocessing
from dfast.errors import PriorError
from dfast.priors.loading import hub
from dfast.priors.loading.catalog import is_hub_id
from dfast.priors.loading.folder import INDEX, ROOT, Folder, one_line
from dfast.priors.loading.foreign import check_names
from dfast.priors.loading.text_encoders import load_tokenizer, open_text_encoder
from dfast.priors.loading.weight_files import select_weight_files

EMBEDDED = Path(__file__).with_name("weights")
"""Folder of the CLIP in the package, which `dfast.clip.training` makes."""
CONFIG, IMAGES, BOTH = "config.json", "preprocessor_config.json", "processor_config.json"


class ClipFolder(Folder):
    """A folder of transformers' CLIPModel. Methods raise PriorError for what cannot be used."""

    kind: ClassVar[str] = "clip"
    converter: ClassVar[str] = "CLIPModel"

    def error(self, text: str) -> PriorError:
        """Return an error about this folder, in one line of bounded length."""
        return super().error(text.removeprefix(f"{ROOT}: ").removeprefix(f"{ROOT} "))

    def check_model(self) -> dict[str, Any]:
        """Return the configuration, after a check that it is that of a CLIP.

        Raises:
            PriorError: if it is missing, damaged, or that of another model.
        """
        config = self.read(CONFIG)
        if (got := config.get("model_type")) != "clip":
            half = {"clip_text_model": "reads text alone", "clip_vision_model": "sees images alone"}
            beside = f", which {half[got]}" if isinstance(got, str) and got in half else ""
            raise self.error(f"expected model_type 'clip' in its {CONFIG}, got {got!r}{beside}")
        return config

    def preprocessing(self) -> Preprocessing:
        """Return what the folder says of images; like transformers, it looks into two files.

        Raises:
            PriorError: if the files are missing or damaged.
        """
        file, config = BOTH, None
        if os.path.lexists(self.path / BOTH):
            config = self.read(BOTH).get("image_processor")
        if config is None:
            file, config = IMAGES, self.read(IMAGES)
        try:
            if not isinstance(config, dict):
                raise ValueError(f"image_processor: expected an object, got {config!r}")
            return Preprocessing.from_config(config)
        except ValueError as error:
            raise self.damaged_error(self.path / file, str(error)) from error


def find_clip(name: str, *, download: bool = False) -> ClipFolder:
    """Return the folder of a CLIP.

    Args:
        name: "shapes" (the embedded one), a local folder or a hub id "owner/name".
        download: fetch what is not cached, after printing to stderr what, on which terms and how
            large.

    Raises:
        PriorError: if there is none or it cannot be fetched; the message says what to do.
    """
    if not isinstance(name, str):
        raise PriorError(f"clip: expected a folder or a hub id as a string, got {name!r}")
    hub.check_download(download)
    if name == "shapes":
        return _embedded()
    try:
        path = os.path.expanduser(name)
    except ValueError:  # a user's name with a null character
        path = name
    if os.path.isdir(path):
        return _local(Path(os.path.realpath(path)), name)
    if os.path.lexists(path):
        raise PriorError(
            f"clip: expected a folder of transformers, got the file {one_line(name, repr)}"
        )
    if not is_hub_id(name):
        raise PriorError(
            f"clip: expected 'shapes', a folder or a hub id 'owner/name', got "
            f"{one_line(name, repr)}: no such folder"
        )
    if download and not _is_complete(name):
        with _as_clip():
            hub.download_files(
                name,
                name,
                None,
                select=lambda files: select_files(files, name),
                check=lambda found: ClipFolder(found, name, fetched=True).check_model(),
                index=CONFIG,
            )
    found = hub.cached_snapshot(name, CONFIG)
    if found is None:
        raise PriorError(
            f"clip {name!r}: no such folder, and not in the hub's cache; the same command with "
            f"`--download` fetches https://huggingface.co/{name} (read its licence first) into "
            f"{hub.cache()}"
        )
    return ClipFolder(found, name, fetched=True)


def _embedded() -> ClipFolder:
    if not EMBEDDED.is_dir():
        raise PriorError(
            "clip 'shapes': expected its weights in the package, got none; train them with "
            "`python -m dfast.clip.training`, or name a folder"
        )
    return ClipFolder(EMBEDDED, "shapes")


def _local(path: Path, name: str) -> ClipFolder:
    """Return a local folder, after a look at what it is."""
    if not os.path.lexists(path / CONFIG):
        hint = ""
        if os.path.lexists(path / INDEX):
            hint = "; it is a diffusers pipeline, whose text encoder sees no images"
        elif os.path.lexists(path / "open_clip_config.json"):
            hint = "; it is an open_clip folder: take the one that transformers reads"
        elif os.path.lexists(path / "run.json"):
            hint = "; it is a run of dfast, not a model"
        raise PriorError(
            f"clip {one_line(name, repr)}: expected a folder of transformers with {CONFIG}, got "
            f"{one_line(path)} without one{hint}"
        )
    return ClipFolder(path, str(path))


def _is_complete(repo: str) -> bool:
    """Return whether all that is read of a hub repository is cached."""
    path = hub.cached_snapshot(repo, CONFIG)
    if path is None:
        return False
    folder = ClipFolder(path, repo)
    try:
        folder.check_model()
        folder.preprocessing()
        folder.check_tokenizer(ROOT)
        folder.weights(ROOT, half=False)
    except PriorError:
        return False
    return True


def select_files(files: list[str], name: str) -> list[str]:
    """Return the files of a hub repository that are read.

    Args:
        files: all files of the repository.
        name: of the CLIP, for messages.

    Raises:
        PriorError: if the repository has no CLIP in safetensors.
    """
    top = [file for file in files if "/" not in file]
    if CONFIG not in top:
        raise PriorError(f"clip {name!r}: not a model of transformers, it has no {CONFIG}")
    weights = select_weight_files(top, "model", half=False)
    if not weights:
        raise PriorError(
            f"clip {name!r}: it has no safetensors weights on the hub, and dfast reads no pickles; "
            "convert a model that you trust with CLIPModel.from_pretrained(old)"
            ".save_pretrained(new), and copy its other files beside them"
        )
    small = (CONFIG, IMAGES, BOTH, "tokenizer.json", "tokenizer_config.json", "vocab.json",
             "merges.txt", "special_tokens_map.json")  # fmt: skip
    return [*(file for file in small if file in top), *weights]


@contextmanager
def _as_clip() -> Iterator[None]:
    """Name a CLIP in the errors of the hub's code, which speaks of priors."""
    try:
        yield
    except PriorError as error:
        text = str(error)
        raise PriorError(f"clip{text.removeprefix('prior').removeprefix('clip')}") from error


def load_network(folder: ClipFolder, device: torch.device) -> Any:
    """Return transformers' CLIPModel of a folder, in float32, frozen and in eval mode.

    Args:
        folder: of the CLIP.
        device: where it runs.

    Raises:
        PriorError: if its files are missing, damaged, or have others than plain weights.
    """
    folder.check_model()
    check_names(folder, ROOT, folder.weights(ROOT, half=False))
    with open_text_encoder(folder, ROOT, "CLIPModel", torch.float32, device, "device") as model:
        return model.requires_grad_(False)


def load_words(folder: ClipFolder) -> Any:
    """Return the tokenizer of a folder.

    Args:
        folder: of the CLIP.

    Raises:
        PriorError: if its files are missing or damaged.
    """
    return load_tokenizer(folder, ROOT, "CLIPTokenizer")
