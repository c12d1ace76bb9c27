"""Downloads: what is fetched, and how each failure is explained."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hub_folders import FakeHub, snapshot
from tiny_models import (
    CPU,
    UNET,
    copied,
    edit_json,
    expected_prediction,
    folder,
    predict_once,
    truncate,
)

from dfast.config import PriorConfig
from dfast.errors import PriorError
from dfast.priors import load_prior
from dfast.priors.loading import hub
from dfast.priors.loading.catalog import CATALOG

pytestmark = pytest.mark.usefixtures("isolated")


def test_only_what_is_needed_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = copied("sd15", tmp_path)
    unneeded = ["unet/diffusion_pytorch_model.bin", "vae/flax_model.msgpack", "v1-5.ckpt",
                "safety_checker/model.safetensors", "README.md"]  # fmt: skip
    for name in unneeded:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"no")
    shutil.copy(source / UNET, source / UNET.replace("model.safe", "model.fp16.safe"))
    fake = FakeHub(monkeypatch, source)
    prior = load_prior("sd15", CPU, download=True)
    assert not set(fake.fetched) & {*unneeded, UNET}
    assert UNET.replace("model.safe", "model.fp16.safe") in fake.fetched
    printed = capsys.readouterr().err
    assert (
        "CreativeML Open RAIL-M" in printed
        and "GB free" in printed
        and CATALOG["sd15"].hub in printed
    )
    assert torch.equal(predict_once(prior), expected_prediction("sd15"))
    fake.fetched.clear()
    load_prior("sd15", CPU, download=True)
    assert fake.fetched == [] and capsys.readouterr().err == ""


@pytest.mark.parametrize("family", ["sd3", "z-image"])
def test_folders_with_transformers_are_fetched_whole(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copied(family, tmp_path)
    (source / "sd3_medium.safetensors").write_bytes(b"no")
    fake = FakeHub(monkeypatch, source)
    prior = load_prior("a/b", CPU, download=True, options=PriorConfig(image_size=64))
    prior.encode_prompt("a red chair")
    prior.load()
    assert "sd3_medium.safetensors" not in fake.fetched and hub.is_complete("a/b")
    parts = {name.split("/")[0] for name in fake.fetched}
    assert ("text_encoder_3" in parts and "tokenizer_3" in parts) == (family == "sd3")


def test_an_interrupted_download_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = snapshot(CATALOG["sd15"].hub, folder("sd15"))
    (cached / UNET).unlink()
    with pytest.raises(PriorError, match=r"incomplete, .*unet.* is missing; .*--download"):
        load_prior("sd15", CPU)
    FakeHub(monkeypatch, folder("sd15"))
    predict_once(load_prior("sd15", CPU, download=True))


@pytest.mark.parametrize(
    "lost", ["unet/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"]
)
def test_small_files_that_did_not_arrive_are_fetched(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snapshot(CATALOG["sd15"].hub, folder("sd15")) / lost).unlink()
    assert not hub.is_complete(CATALOG["sd15"].hub)
    FakeHub(monkeypatch, folder("sd15"))
    predict_once(load_prior("sd15", CPU, download=True))


def test_a_damaged_file_of_the_cache_is_named_where_it_is(tmp_path: Path) -> None:
    cached = snapshot(CATALOG["sd15"].hub, folder("sd15"))
    blob = tmp_path / "blob"
    (cached / UNET).rename(blob)
    (cached / UNET).symlink_to(blob)
    assert hub.is_complete(CATALOG["sd15"].hub)
    truncate(blob)
    with pytest.raises(PriorError, match=rf"unet.* is damaged .*delete {blob} and fetch it again"):
        load_prior("sd15", CPU)


@pytest.mark.parametrize("what", ["inpainting", "no unet", "distilled"])
def test_weights_of_another_family_are_not_fetched(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copied("flux2" if what == "distilled" else "sd15", tmp_path)
    if what == "distilled":
        edit_json(source / "model_index.json", is_distilled=True)
    elif what == "no unet":
        shutil.rmtree(source / "unet")
    else:
        edit_json(source / "unet/config.json", in_channels=9)
    fake = FakeHub(monkeypatch, source)
    with pytest.raises(PriorError, match=r"expected (Stable Diffusion|weights with a true uncond)"):
        load_prior("a/b", CPU, download=True)
    assert not [name for name in fake.fetched if name.endswith(".safetensors")]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub").write_text("a file")
    FakeHub(monkeypatch, folder("sd15"))
    with pytest.raises(PriorError, match=r"hub cannot be written .* set HF_HOME to a folder"):
        load_prior("sd15", CPU, download=True)


def _hub_error(name: str) -> Exception:
    """As the hub raises it, without the response of whichever HTTP library it has today."""
    from huggingface_hub import errors

    cls = getattr(errors, name)
    made: Exception = cls.__new__(cls)
    return made


def _wrapped() -> Exception:
    error = FileNotFoundError("not cached")
    error.__cause__ = _hub_error("GatedRepoError")
    return error


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("if-m", lambda: _hub_error("GatedRepoError"), "accept its licence at https://.*IF-I-M"),
        ("if-m", _wrapped, r"accept its licence .*hf auth login"),
        ("a/b", lambda: _hub_error("RepositoryNotFoundError"), "does not exist or has vanished"),
        (
            "runwayml/stable-diffusion-v1-5",
            lambda: _hub_error("RepositoryNotFoundError"),
            "vanished; use 'sd15'",
        ),
        ("sd15", lambda: OSError(errno.ENOSPC, "No space left on device"), "make room, or set HF"),
        ("sd15", lambda: RuntimeError("xet: No space left on device"), "make room, or set HF_HOME"),
        ("sd15", lambda: ConnectionError("refused\nby all"), r"\(refused\); check the network"),
    ],
)
def test_downloads_that_fail(
    name: str, error: Callable[[], Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeHub(monkeypatch, folder("sd15")).error = error()
    with pytest.raises(PriorError, match=message):
        load_prior(name, CPU, download=True)


def test_no_network() -> None:
    with pytest.raises(PriorError, match=r"prior 'sd15': cannot fetch https://.*check the network"):
        load_prior("sd15", CPU, download=True)


def test_offline_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PriorError, match="cannot be fetched while HF_HUB_OFFLINE is set"):
        load_prior("sd15", CPU, download=True)


def test_a_disk_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeHub(monkeypatch, folder("sd15"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1000))
    with pytest.raises(PriorError, match=r"needs .* GB in .* GB free; make room, or set HF_HOME"):
        load_prior("sd15", CPU, download=True)
    assert fake.fetched == []


def test_a_repository_of_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = copied("sd15", tmp_path)
    (source / UNET).rename(source / UNET.replace("safetensors", "bin"))
    FakeHub(monkeypatch, source)
    with pytest.raises(PriorError, match="its unet has no safetensors weights on the hub"):
        load_prior("sd15", CPU, download=True)
    (source / "model_index.json").unlink()
    with pytest.raises(PriorError, match="not a diffusers pipeline"):
        load_prior("sd15", CPU, download=True)
