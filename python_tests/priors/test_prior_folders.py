"""Where priors come from: names, caches, downloads, and every way in which a folder is unfit."""

from __future__ import annotations

import errno
import json
import shutil
import socket
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import copied, folder

from dfast.config import PriorConfig
from dfast.errors import ConfigError, DeviceError, PriorError
from dfast.priors import family_of, load_prior
from dfast.priors.loading import hub
from dfast.priors.loading.catalog import CATALOG, VANISHED, is_hub_id
from dfast.priors.loading.folder import Folder, pick
from dfast.testing import random_models

CPU = torch.device("cpu")
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of the test's own, and no network."""
    import huggingface_hub.constants

    monkeypatch.setenv("DFAST_CACHE", str(tmp_path / "dfast-cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def blocked(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", blocked)
    monkeypatch.setattr(socket, "create_connection", blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)


def ask(prior: Any) -> torch.Tensor:
    """The answer to one fixed question."""
    condition = prior.encode_prompt("a red chair", views="none")
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return prior.predict_noise(
        x, torch.tensor([500]), condition, cameras=None, textureless=torch.tensor([False])
    )


def cache(repo: str, source: Path) -> Path:
    """`source` as a snapshot of `repo` in the hub's cache."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    return Path(shutil.copytree(source, root / "snapshots" / ("0" * 40)))


class FakeHub:
    """The hub as far as it is asked, with one repository."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
        import huggingface_hub

        self.source, self.fetched, self.error = source, list[str](), None
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", self._info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self._download)

    error: Exception | None
    """What a download raises."""

    def _info(self, repo: str, files_metadata: bool = False) -> Any:
        files = [p for p in self.source.rglob("*") if p.is_file()]
        siblings = [
            SimpleNamespace(rfilename=p.relative_to(self.source).as_posix(), size=p.stat().st_size)
            for p in files
        ]
        return SimpleNamespace(siblings=siblings, card_data=SimpleNamespace(license="openrail"))

    def _download(self, repo: str, allow_patterns: list[str]) -> None:
        if self.error:
            raise self.error
        from huggingface_hub import constants

        root = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / "main").write_text("0" * 40)
        for name in allow_patterns:
            to = root / "snapshots" / ("0" * 40) / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.source / name, to)
        self.fetched += allow_patterns


# Names


def test_the_catalogue_is_complete() -> None:
    assert set(CATALOG) == {"sd15", "sd21", "sdxl", "if-m", "if-l", "if-xl"}
    for alias, entry in CATALOG.items():
        assert entry.alias == alias and is_hub_id(entry.hub) and entry.gigabytes > 1
        assert entry.gated == alias.startswith("if-")
        assert ("accept it first at https://" in entry.terms) == entry.gated
    assert all(new in CATALOG or is_hub_id(new) for new in VANISHED.values())


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
    cache(CATALOG["sd15"].hub if name == "sd15" else name, folder("sd15"))
    for download in (False, True):
        prior = load_prior(name, CPU, download=download)
        assert prior.name == name
        assert torch.equal(ask(prior), ask(load_prior(str(folder("sd15")), CPU)))


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
    told = "expected a diffusers folder" if name == "." else f"got {name!r}: no such folder"
    assert told in str(caught.value)


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
    _edit(path / "model_index.json", vae=[])
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


# Downloads


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
    told = capsys.readouterr().err
    assert "CreativeML Open RAIL-M" in told and "GB free" in told and CATALOG["sd15"].hub in told
    assert torch.equal(ask(prior), ask(load_prior(str(folder("sd15")), CPU)))
    fake.fetched.clear()
    load_prior("sd15", CPU, download=True)
    assert fake.fetched == [] and capsys.readouterr().err == ""


def test_an_interrupted_download_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = cache(CATALOG["sd15"].hub, folder("sd15"))
    (snapshot / UNET).unlink()
    with pytest.raises(PriorError, match=r"incomplete, .*unet.* is missing; .*--download"):
        load_prior("sd15", CPU)
    FakeHub(monkeypatch, folder("sd15"))
    ask(load_prior("sd15", CPU, download=True))


@pytest.mark.parametrize(
    "lost", ["unet/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json"]
)
def test_small_files_that_did_not_arrive_are_fetched(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache(CATALOG["sd15"].hub, folder("sd15")) / lost).unlink()
    assert not hub.whole(CATALOG["sd15"].hub)
    FakeHub(monkeypatch, folder("sd15"))
    ask(load_prior("sd15", CPU, download=True))


def test_a_damaged_file_of_the_cache_is_named_where_it_is(tmp_path: Path) -> None:
    snapshot = cache(CATALOG["sd15"].hub, folder("sd15"))
    blob = tmp_path / "blob"
    (snapshot / UNET).rename(blob)
    (snapshot / UNET).symlink_to(blob)
    assert hub.whole(CATALOG["sd15"].hub)
    _truncate(blob)
    with pytest.raises(PriorError, match=rf"unet.* is damaged .*delete {blob} and fetch it again"):
        load_prior("sd15", CPU)


@pytest.mark.parametrize("what", ["inpainting", "no unet"])
def test_weights_of_another_family_are_not_fetched(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copied("sd15", tmp_path)
    if what == "no unet":
        shutil.rmtree(source / "unet")
    else:
        _edit(source / "unet/config.json", in_channels=9)
    fake = FakeHub(monkeypatch, source)
    with pytest.raises(PriorError, match="expected Stable Diffusion"):
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


# Folders


def _edit(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _no_index(path: Path) -> None:
    (path / "model_index.json").unlink()


def _pickled(path: Path) -> None:
    (path / UNET).rename(path / UNET.replace("safetensors", "bin"))


def _foreign_pipeline(path: Path) -> None:
    _edit(path / "model_index.json", _class_name="FluxPipeline", unet=...)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (_no_index, "expected a diffusers folder with model_index.json"),
    "pickles": (_pickled, r"only pickled weights, which dfast never reads .*save_pretrained"),
    "no unet": (lambda p: shutil.rmtree(p / "unet"), r"incomplete, .*/unet is missing"),
    "no vae": (lambda p: shutil.rmtree(p / "vae"), r"incomplete, .*/vae is missing"),
    "no scheduler": (lambda p: shutil.rmtree(p / "scheduler"), r"incomplete, .*/scheduler"),
    "no weights": (lambda p: (p / UNET).unlink(), r"incomplete, .*\.safetensors is missing"),
    "cut": (lambda p: _truncate(p / UNET), r"damaged \(\d+ bytes where its header says \d+\)"),
    "empty": (lambda p: (p / UNET).write_bytes(b""), r"damaged \(no safetensors header\)"),
    "noise": (lambda p: (p / UNET).write_bytes(b"\xff" * 999), r"damaged \(no safetensors"),
    "bad json": (
        lambda p: (p / "unet/config.json").write_text("{"),
        r"unet/config\.json is damaged",
    ),
    "json list": (
        lambda p: (p / "model_index.json").write_text("[]"),
        "expected a JSON object, got list",
    ),
    "other pipeline": (_foreign_pipeline, r"expected Stable Diffusion .* a folder of FluxPipeline"),
    "inpainting": (
        lambda p: _edit(p / "unet/config.json", in_channels=9),
        "StableDiffusionPipeline with a UNet of 9 to 4 channels",
    ),
    "guidance distilled": (
        lambda p: _edit(p / "unet/config.json", time_cond_proj_dim=256),
        "expected Stable Diffusion",
    ),
    "other network": (
        lambda p: _edit(p / "unet/config.json", _class_name="UNet2DModel"),
        "expected Stable Diffusion",
    ),
    "foreign scheduler": (
        lambda p: _edit(
            p / "scheduler/scheduler_config.json",
            _class_name="FlowMatchEulerDiscreteScheduler",
            beta_schedule=...,
        ),
        "a beta_schedule or trained_betas, got FlowMatchEulerDiscreteScheduler without",
    ),
    "betas beyond one": (
        lambda p: _edit(p / "scheduler/scheduler_config.json", beta_end=3.0),
        "expected a noise schedule with betas in",
    ),
    "other vae": (
        lambda p: _edit(p / "vae/config.json", _class_name="AutoencoderTiny"),
        "expected the VAE of Stable Diffusion, AutoencoderKL, got AutoencoderTiny",
    ),
    "vae without levels": (
        lambda p: _edit(p / "vae/config.json", block_out_channels=None),
        "block_out_channels: expected a list, got None",
    ),
    "scale": (
        lambda p: _edit(p / "vae/config.json", scaling_factor=float("nan")),
        "scaling_factor: expected a positive number, got nan",
    ),
    "size": (
        lambda p: _edit(p / "unet/config.json", sample_size="big"),
        "sample_size: expected a positive number, got 'big'",
    ),
    "header of words": (
        lambda p: (p / UNET).write_bytes(
            (48).to_bytes(8, "little") + b'{"a":{"data_offsets":["x","y"],"shape":[]}}     '
        ),
        r"damaged \(no safetensors",
    ),
    "index of nothing": (
        lambda p: (
            (p / UNET).rename(p / UNET.replace(".safe", "-00001-of-00001.safe")),
            (p / f"{UNET}.index.json").write_text('{"weight_map": ["a"]}'),
        ),
        "it lists no files of this folder",
    ),
    "bad tokenizer": (
        lambda p: (p / "tokenizer/tokenizer.json").write_text("{"),
        r"tokenizer/tokenizer\.json is damaged",
    ),
    "schedule": (
        lambda p: _edit(p / "scheduler/scheduler_config.json", prediction_type="flow"),
        "expected a prediction_type",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_folders_that_are_refused_at_the_door(what: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    spoil, message = BROKEN[what]
    spoil(path)
    with pytest.raises(PriorError, match=message) as caught:
        load_prior(str(path), CPU)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def _weights(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the tensors of a file."""
    from safetensors.torch import load_file, save_file

    save_file({k: change(v).contiguous() for k, v in load_file(path).items()}, path)


LATE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another model's weights": (
        lambda p: shutil.copy(folder("sdxl") / UNET, p / UNET),
        r"unet does not fit its config\.json, .*: expected \(.*\), got",
    ),
    "no tokenizer": (lambda p: shutil.rmtree(p / "tokenizer"), r"incomplete, .*/tokenizer is"),
    "no encoder": (lambda p: shutil.rmtree(p / "text_encoder"), r"incomplete, .*/text_encoder"),
    "no vocabulary": (
        lambda p: (p / "tokenizer/tokenizer.json").unlink(),
        r"incomplete, .*tokenizer/tokenizer\.json is missing",
    ),
    "half a vocabulary": (
        lambda p: (p / "tokenizer/tokenizer.json").rename(p / "tokenizer/vocab.json"),
        r"incomplete, .*tokenizer/merges\.txt is missing",
    ),
    "no tokenizer settings": (
        lambda p: (p / "tokenizer/tokenizer_config.json").unlink(),
        r"incomplete, .*tokenizer/tokenizer_config\.json is missing",
    ),
    "no encoder settings": (
        lambda p: (p / "text_encoder/config.json").unlink(),
        r"incomplete, .*text_encoder/config\.json is missing",
    ),
    "empty encoder": (
        lambda p: (p / "text_encoder/model.safetensors").write_bytes(b""),
        r"model\.safetensors is damaged \(no safetensors header\)",
    ),
    "encoder of NaN": (
        lambda p: _weights(p / "text_encoder/model.safetensors", lambda v: v * float("nan")),
        "expected finite numbers from the text encoder",
    ),
    "NaN": (
        lambda p: _weights(p / UNET, lambda v: v * float("nan")),
        r"is damaged \(\S+ holds inf or NaN\)",
    ),
    "quantised": (
        lambda p: _weights(p / UNET, lambda v: v.to(torch.int8)),
        "is quantised, .*: expected floating point, got int8",
    ),
    "foreign configuration": (
        lambda p: _edit(p / "unet/config.json", down_block_types=["Nonsense"]),
        r"unet/config\.json is damaged",
    ),
    "another encoder's weights": (
        lambda p: shutil.copy(
            folder("if-m") / "text_encoder/model.safetensors", p / "text_encoder"
        ),
        "text_encoder is damaged",
    ),
}


@pytest.mark.parametrize("what", LATE)
def test_folders_that_fail_when_they_are_read(what: str, tmp_path: Path) -> None:
    path = copied("sd15", tmp_path)
    spoil, message = LATE[what]
    spoil(path)
    prior = load_prior(str(path), CPU)
    with pytest.raises(PriorError, match=message) as caught:
        ask(prior)
    assert "\n" not in str(caught.value)


def test_eight_bits_need_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    prior: Any = load_prior(str(folder("if-m")), CPU, options=PriorConfig(text_encoder="8bit"))
    with pytest.raises(PriorError, match=r"prior\.text_encoder: '8bit' expects a CUDA device"):
        prior.encode_prompt("a red chair")


def test_sentencepiece_files_need_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfast.priors.loading import text_encoders

    path = copied("if-m", tmp_path)
    (path / "tokenizer" / "tokenizer.json").rename(path / "tokenizer" / "spiece.model")
    monkeypatch.setattr(text_encoders.metadata, "distributions", lambda: [])
    with pytest.raises(PriorError, match="needs `pip install sentencepiece protobuf`"):
        load_prior(str(path), CPU).encode_prompt("a red chair")


# Which files


@pytest.mark.parametrize(
    ("names", "half", "wanted"),
    [
        (["m.safetensors", "m.fp16.safetensors"], True, ["m.fp16.safetensors"]),
        (["m.safetensors", "m.fp16.safetensors"], False, ["m.safetensors"]),
        (["m.safetensors", "m.bin"], True, ["m.safetensors"]),
        (["m.fp16.safetensors"], False, ["m.fp16.safetensors"]),
        (["m.non_ema.safetensors", "m.safetensors.aria2", "xm.safetensors"], True, []),
        (["m.bin"], True, []),
        (
            ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors",
             "m.safetensors.index.json", "m-00001-of-00002.bin"],
            True,
            ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors",
             "m.safetensors.index.json"],
        ),
        (
            ["m.fp16-00001-of-00001.safetensors", "m.safetensors.index.fp16.json", "m.safetensors"],
            True,
            ["m.fp16-00001-of-00001.safetensors", "m.safetensors.index.fp16.json"],
        ),
    ],
)  # fmt: skip
def test_which_files_hold_the_weights(names: list[str], half: bool, wanted: list[str]) -> None:
    assert pick(names, "m", half=half) == wanted


def test_shards(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    path = copied("sd15", tmp_path)
    unet = UNet2DConditionModel.from_pretrained(path / "unet")
    (path / UNET).unlink()
    unet.save_pretrained(path / "unet", max_shard_size="100KB")
    assert len(Folder(path, "x").weights("unet").files) > 1
    stale = path / UNET.replace(".safe", "-00009-of-00009.safe")
    shutil.copy(folder("sd15") / UNET, stale)  # of another making: it is not in the index
    _weights(stale, torch.zeros_like)
    assert torch.equal(ask(load_prior(str(path), CPU)), ask(load_prior(str(folder("sd15")), CPU)))
    next((path / "unet").glob("*-00002-of-*")).unlink()
    with pytest.raises(PriorError, match=r"incomplete, .*-00002-of-\d+.safetensors is missing"):
        load_prior(str(path), CPU)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "if-m"])
def test_the_half_variant_is_found(family: str, tmp_path: Path) -> None:
    path = random_models.write(
        family, tmp_path / family, size="tiny", dtype=torch.float16, variant="fp16"
    )
    prior: Any = load_prior(str(path), CPU)
    assert prior.folder.weights("unet", half=False).half
    prior.encode_prompt("a red chair")
    prior.load()
    assert {p.dtype for p in prior.unet.parameters()} == {torch.float32}  # on a CPU
    half: Any = load_prior(str(path), CPU, options=PriorConfig(precision="fp16"))
    half.encode_prompt("a red chair")
    half.load()
    last = half.unet.conv_out.layer.weight
    assert {p.dtype for p in half.unet.parameters() if p is not last} >= {torch.float16}
    assert last.dtype == torch.float32
