"""Old spellings of settings, which files, dicts and `--set` still accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfast.errors import ConfigError

RENAMED: dict[str, dict[str, str]] = {
    "guidance": {"view_words": "view_conditioning"},
    "march": {"step": "step_size", "growth": "cone_angle", "early_stop": "early_stop_eps"},
    "coarse_to_fine": {"footprint": "lowpass_std", "footprint_until": "lowpass_std_until"},
    "train": {"capture": "cuda_graphs"},
}
"""For each section, the old name of a setting and its name now. The meaning did not change.

Run folders and results written before the renaming hold the old names.
"""


def current_names(values: Any) -> Any:
    """Return a copy of the sections `values` in which every setting has its current name.

    Args:
        values: sections by name, each a mapping of settings. Anything else is left as it is, for
            the checks to name.

    Raises:
        ConfigError: a setting is given under its old and its current name.
    """
    if not isinstance(values, Mapping):
        return values
    renamed = dict(values)
    for section, names in RENAMED.items():
        settings = values.get(section)
        if isinstance(settings, Mapping):
            renamed[section] = _rename(settings, names, section)
    return renamed


def _rename(settings: Mapping[str, Any], names: dict[str, str], section: str) -> dict[str, Any]:
    for old, new in names.items():
        if old in settings and new in settings:
            raise ConfigError(
                f"config key '{section}.{old}': the old name of '{section}.{new}'; "
                "expected one of them, got both"
            )
    return {names.get(key, key): value for key, value in settings.items()}
