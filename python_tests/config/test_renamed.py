"""Old spellings of settings: still read, never written, refused beside the current ones."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dfast.config import Config
from dfast.config.overrides import parse_override
from dfast.config.renamed import RENAMED, current_names
from dfast.errors import ConfigError

OLD_VALUES: dict[str, dict[str, Any]] = {
    "guidance": {"view_words": "words"},
    "march": {"step": 0.25, "growth": 0.01, "early_stop": 0.002},
    "coarse_to_fine": {"footprint": [0.4, 0.2], "footprint_until": 0.75},
    "train": {"capture": False},
}
CURRENT = Config().replace(
    guidance={"view_conditioning": "words"},
    march={"step_size": 0.25, "cone_angle": 0.01, "early_stop_eps": 0.002},
    coarse_to_fine={"lowpass_std": [0.4, 0.2], "lowpass_std_until": 0.75},
    train={"cuda_graphs": False},
)
OLD_KEYS = [(section, key) for section, names in RENAMED.items() for key in names]


def test_every_old_name_has_a_value_here() -> None:
    assert [(section, key) for section, keys in OLD_VALUES.items() for key in keys] == OLD_KEYS


def test_dicts_take_old_names() -> None:
    assert Config.from_dict(OLD_VALUES) == CURRENT
    assert Config().replace(**OLD_VALUES) == CURRENT


@pytest.mark.parametrize("base", [None, Config()])
def test_files_take_old_names(base: Config | None, tmp_path: Path) -> None:
    lines = []
    for section, keys in OLD_VALUES.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(v)}" for key, v in keys.items())]
    (tmp_path / "c.toml").write_text("\n".join(lines))
    (tmp_path / "c.json").write_text(json.dumps(OLD_VALUES))
    assert Config.load(tmp_path / "c.toml", base=base) == CURRENT
    assert Config.load(tmp_path / "c.json", base=base) == CURRENT


def test_overrides_take_old_names() -> None:
    changes = [f"{s}.{key}={json.dumps(OLD_VALUES[s][key])}" for s, key in OLD_KEYS]
    config = Config()
    for change in changes:
        config = config.replace(**parse_override(change))
    assert config == CURRENT


@pytest.mark.parametrize(("section", "old"), OLD_KEYS)
def test_both_names_are_refused(section: str, old: str, tmp_path: Path) -> None:
    new, value = RENAMED[section][old], OLD_VALUES[section][old]
    both = {section: {old: value, new: value}}
    message = (
        f"config key '{section}.{old}': the old name of '{section}.{new}'; "
        "expected one of them, got both"
    )
    (tmp_path / "c.json").write_text(json.dumps(both))
    for read in (
        lambda: Config.from_dict(both),
        lambda: Config().replace(**both),
        lambda: Config.load(tmp_path / "c.json"),
        lambda: Config.load(tmp_path / "c.json", base=Config()),
    ):
        with pytest.raises(ConfigError) as error:
            read()
        assert str(error.value) == message


@pytest.mark.parametrize(("section", "old"), OLD_KEYS)
def test_only_current_names_are_written(section: str, old: str) -> None:
    written = tomllib.loads(CURRENT.dumps())[section]
    assert old not in written and RENAMED[section][old] in written


def test_what_is_no_section_is_left_to_the_checks() -> None:
    assert current_names({"march": 3, "unknown": {"step": 1}}) == {
        "march": 3,
        "unknown": {"step": 1},
    }
