"""Names of priors: the catalogue, folders, hub ids, and what none of them is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_folders import snapshot
from tiny_models import (
    CPU,
    PREDICTIONS,
    TRANSFORMERS,
    copied,
    edit_json,
    expected_prediction,
    folder,
    predict_once,
)

from dfast.config import Config
from dfast.errors import ConfigError, DeviceError, PriorError
from dfast.priors import family_of, load_prior
from dfast.priors.loading.catalog import CATALOG, VANISHED, is_hub_id
from dfast.priors.pipelines.open import FAMILIES

pytestmark = pytest.mark.usefixtures("isolated")


def test_the_catalogue_is_complete() -> None:
    assert set(CATALOG) >= {"sd15", "sd21", "sdxl", "if-m", "if-l", "if-xl"}
    assert {entry.family for entry in CATALOG.values()} >= {*TRANSFORMERS}
    for alias, entry in CATALOG.items():
        assert entry.alias == alias and is_hub_id(entry.hub) and entry.gigabytes > 1
        assert entry.gated == alias.startswith(("if-", "sd3"))
        assert ("accept it first at https://" in entry.terms) == entry.gated
    assert all(new in CATALOG or is_hub_id(new) for new in VANISHED.values())


@pytest.mark.parametrize("alias", CATALOG)
def test_the_family_of_a_short_name_needs_no_files(alias: str) -> None:
    family = family_of(alias)
    assert family == CATALOG[alias].family and family in FAMILIES
    assert Config.for_prior(alias) == Config.for_prior(family)


def test_a_short_name_need_not_begin_with_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dataclasses.replace(CATALOG["if-m"], alias="pixels")
    monkeypatch.setitem(CATALOG, "pixels", entry)
    assert family_of("pixels") == "if"


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_folders_with_transformers_are_recognised(family: str) -> None:
    assert family_of(str(folder(family))) == family


@pytest.mark.parametrize("alias", PREDICTIONS)
def test_the_catalogue_and_a_folder_agree_on_the_family(alias: str) -> None:
    assert family_of(str(folder(alias))) == CATALOG[alias].family


@pytest.mark.parametrize(
    "name",
    ["imagen", "/no/such/folder", "a/b/c", "", "./x", "../x", "a--b/c", "x/..", "-a/b", "a/b.git",
     "~nobody-here/x", "a\0b", "x" * 5000, "https://huggingface.co/a/b"],
)  # fmt: skip
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(PriorError, match=r"expected 'shapes', 'sd15'.*a folder or a hub id"):
        load_prior(name, CPU)


@pytest.mark.parametrize("alias", CATALOG)
def test_what_is_not_here_is_named_with_terms_and_size(alias: str, tmp_path: Path) -> None:
    with pytest.raises(PriorError) as caught:
        load_prior(alias, CPU)
    message, entry = str(caught.value), CATALOG[alias]
    assert "\n" not in message
    for part in (f"--prior {alias} --download", entry.hub, f"{entry.gigabytes:g} GB",
                 entry.license, str(tmp_path / "hub")):  # fmt: skip
        assert part in message
    assert (f"accept it first at {entry.url}" in message) == entry.gated


def test_a_repository_that_left_the_hub() -> None:
    with pytest.raises(PriorError, match=r"has left the hub and is not cached; use 'sd15'"):
        load_prior("runwayml/stable-diffusion-v1-5", CPU)


@pytest.mark.parametrize("name", ["sd15", CATALOG["sd15"].hub, "someone/else"])
def test_cached_snapshots_need_no_network(name: str) -> None:
    snapshot(CATALOG["sd15"].hub if name == "sd15" else name, folder("sd15"))
    for download in (False, True):
        prior = load_prior(name, CPU, download=download)
        assert prior.name == name
        assert torch.equal(predict_once(prior), expected_prediction("sd15"))


def test_a_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied("if-m", tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    assert type(load_prior("own/if-m", CPU)).__name__ == "DeepFloyd"


def test_a_mistyped_folder_is_said_to_be_none() -> None:
    with pytest.raises(PriorError, match=r"'models/typo': no such folder, and not in the hub's"):
        load_prior("models/typo", CPU)


@pytest.mark.parametrize("name", ["/no/such", "./x", "../x", "~/no-such", "a/b/c", "."])
def test_a_path_that_leads_nowhere_is_said_to_be_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PriorError) as caught:
        load_prior(name, CPU)
    expected = "expected a diffusers folder" if name == "." else f"got {name!r}: no such folder"
    assert expected in str(caught.value)


def test_arguments_that_are_no_such_things(tmp_path: Path) -> None:
    path = str(folder("sd15"))
    assert load_prior(path, "cpu").name == str(folder("sd15").resolve())
    names: tuple[Any, ...] = (None, 5, Path(path))
    for name in names:
        with pytest.raises(PriorError, match="prior: expected the name of one"):
            load_prior(name, CPU)
        with pytest.raises(PriorError, match="prior: expected the name of one"):
            family_of(name)
    with pytest.raises(DeviceError, match="device: expected cpu, cuda or cuda:N, got 'tpu'"):
        load_prior(path, "tpu")
    options: Any = {"precision": "fp16"}
    with pytest.raises(ConfigError, match="options: expected a "):
        load_prior(path, CPU, options=options)


def test_a_part_of_no_class(tmp_path: Path) -> None:
    path = copied("if-m", tmp_path)
    edit_json(path / "model_index.json", vae=[])
    assert family_of(str(path)) == "if"


def test_a_folder_of_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied("if-m", tmp_path).rename(tmp_path / "sd15")
    monkeypatch.chdir(tmp_path)
    prior: Any = load_prior("sd15", CPU)
    assert family_of("sd15") == prior.family == "if"


def test_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        PriorError, match=r"expected a diffusers folder, got the file .*from_single"
    ):
        load_prior(str(tmp_path / "model.safetensors"), CPU)
