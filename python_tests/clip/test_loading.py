"""Names and folders of CLIPs: where they are found, and one line for each that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hub_folders import FakeHub, snapshot
from safetensors.torch import load_file, save_file
from tiny_clip import copied, folder
from tiny_models import edit_json, truncate
from tiny_models import folder as prior_folder

from dfast.clip import load_clip
from dfast.clip.loading import select_files
from dfast.errors import DfastWarning, PriorError

pytestmark = pytest.mark.usefixtures("isolated")

WEIGHTS = "model.safetensors"


def _fails(name: str, *words: str, download: bool = False) -> None:
    """Check that a name ends in one line that names the CLIP and has the words."""
    with pytest.raises(PriorError) as found:
        load_clip(name, "cpu", download=download)
    message = str(found.value)
    assert message.startswith("clip") and "\n" not in message and "prior" not in message, message
    assert all(word in message for word in words), message


def test_names_that_are_none(tmp_path: Path) -> None:
    _fails("no/such/folder", "no such folder")
    _fails("openai/clip-vit-base-patch32", "not in the hub's cache", "--download")
    _fails("", "expected 'shapes'")
    _fails("a\0b", "no such folder")
    _fails(3, "as a string, got 3")  # type: ignore[arg-type]
    file = tmp_path / "clip.pt"
    file.write_bytes(b"")
    _fails(str(file), "got the file")


def test_the_embedded_one_is_told_when_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfast.clip.loading.EMBEDDED", folder() / "none")
    _fails("shapes", "python -m dfast.clip.training")
    monkeypatch.setattr("dfast.clip.loading.EMBEDDED", folder())
    assert load_clip("shapes", "cpu").name == "shapes"


def test_folders_of_something_else(tmp_path: Path) -> None:
    _fails(str(prior_folder("sd15")), "it is a diffusers pipeline")
    _fails(str(prior_folder("sd15") / "text_encoder"), "'clip_text_model'", "reads text alone")
    (tmp_path / "run.json").write_text("{}")
    _fails(str(tmp_path), "it is a run of dfast")


def _pickled(path: Path) -> None:
    (path / WEIGHTS).rename(path / "pytorch_model.bin")


def _remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_text(text) and None


def _set(name: str, **changes: object) -> Callable[[Path], None]:
    return lambda path: edit_json(path / name, **changes)


def _tensor(key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        weights = load_file(path / WEIGHTS)
        weights[key] = change(weights[key]).contiguous()
        save_file(weights, path / WEIGHTS, metadata={"format": "pt"})

    return apply


def _extra(key: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        weights = load_file(path / WEIGHTS) | {key: torch.ones(2)}
        save_file(weights, path / WEIGHTS, metadata={"format": "pt"})

    return apply


PROJECTION = "visual_projection.weight"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_pickled, ["only pickled weights", "CLIPModel.from_pretrained"]),
        (_remove(WEIGHTS), [f"{WEIGHTS} is missing"]),
        (_remove("preprocessor_config.json"), ["preprocessor_config.json is missing"]),
        (_remove("tokenizer.json"), ["tokenizer.json is missing"]),
        (_remove("tokenizer_config.json"), ["tokenizer_config.json is missing"]),
        (_write("config.json", "{"), ["config.json is damaged"]),
        (_write("config.json", "[]"), ["config.json is damaged"]),
        (_write("preprocessor_config.json", "{"), ["preprocessor_config.json is damaged"]),
        (_write("processor_config.json", '{"image_processor": 3}'), ["processor_config.json"]),
        (_write("tokenizer.json", "{}"), ["tokenizer.json"]),
        (lambda path: truncate(path / WEIGHTS), [f"{WEIGHTS} is damaged"]),
        (_set("config.json", model_type="siglip"), ["expected model_type 'clip'", "'siglip'"]),
        (_set("config.json", projection_dim=48), ["does not fit its config.json"]),
        (_set("config.json", projection_dim="x"), ["config.json"]),
        (_set("preprocessor_config.json", image_std=[0, 0, 0]), ["image_std: expected positive"]),
        (_tensor(PROJECTION, lambda t: t[:, :3]), ["does not fit", PROJECTION]),
        (_tensor(PROJECTION, lambda t: (100 * t).to(torch.int8)), ["quantised", PROJECTION]),
        (_extra("visual_projection.lora_A.weight"), ["adapter layers (LoRA, PEFT)"]),
        (_extra("visual_projection.bias"), ["visual_projection.bias", "no place"]),
    ],
)
def test_bad_folders_are_one_line(
    tmp_path: Path, damage: Callable[[Path], None], words: list[str]
) -> None:
    path = copied(tmp_path)
    damage(path)
    _fails(str(path), *words)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    path = copied(tmp_path)
    weights = load_file(path / WEIGHTS)
    del weights[PROJECTION]
    save_file(weights, path / WEIGHTS, metadata={"format": "pt"})
    _fails(str(path), f"lacks {PROJECTION}")


def test_a_tokenizer_of_another_model_is_found(tmp_path: Path) -> None:
    path = copied(tmp_path)
    text = json.loads((path / "config.json").read_text())["text_config"]
    edit_json(path / "config.json", text_config=text | {"eos_token_id": 5})
    _fails(str(path), "expected text_config.eos_token_id", "tokenizer, got 5")
    edit_json(path / "config.json", text_config=text | {"vocab_size": text["vocab_size"] - 9})
    weights = load_file(path / WEIGHTS)
    key = "text_model.embeddings.token_embedding.weight"
    weights[key] = weights[key][:-9].contiguous()
    save_file(weights, path / WEIGHTS, metadata={"format": "pt"})
    _fails(str(path), "expected text_config.vocab_size of at least")


def test_pixels_of_another_size_are_refused_when_used(tmp_path: Path) -> None:
    path = copied(tmp_path)
    edit_json(path / "preprocessor_config.json", crop_size={"height": 24, "width": 24})
    encoder = load_clip(str(path), "cpu")
    with pytest.raises(PriorError, match="expected its image processor to make 32 x 32 pixels"):
        encoder.encode_images(torch.zeros(1, 3, 40, 40))


def test_an_unknown_module_is_told(tmp_path: Path) -> None:
    path = copied(tmp_path)
    _extra("head.weight")(path)
    with pytest.warns(DfastWarning, match="': has tensors that dfast does not know"):
        load_clip(str(path), "cpu")


def test_a_cached_snapshot_needs_no_network() -> None:
    found = snapshot("someone/clip", folder())
    encoder = load_clip("someone/clip", "cpu")
    assert encoder.name == "someone/clip" and encoder.revision == found.name


def test_only_what_is_read_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = copied(tmp_path)
    for name in ("pytorch_model.bin", "tf_model.h5", "README.md"):
        (source / name).write_bytes(b"no")
    fake = FakeHub(monkeypatch, source)
    load_clip("someone/clip", "cpu", download=True)
    needed = {"config.json", WEIGHTS, "preprocessor_config.json"}
    needed |= {"tokenizer.json", "tokenizer_config.json"}
    assert set(fake.fetched) == needed
    assert "https://huggingface.co/someone/clip" in capsys.readouterr().err
    fake.fetched.clear()
    load_clip("someone/clip", "cpu", download=True)
    assert fake.fetched == []


def test_repositories_that_are_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = copied(tmp_path)
    edit_json(source / "config.json", model_type="bert")
    fake = FakeHub(monkeypatch, source)
    _fails("someone/bert", "got 'bert'", download=True)
    assert WEIGHTS not in fake.fetched
    (source / WEIGHTS).rename(source / "pytorch_model.bin")
    _fails("someone/pickles", "no safetensors", download=True)
    with pytest.raises(PriorError, match="it has no config"):
        select_files(["README.md"], "someone/text")
    fake.error = OSError("no route")
    _fails("someone/other", "no safetensors", download=True)
