"""Checks of arguments that need neither torch nor weights, so that refusals come at once.

What passes here is checked again, and in full, by what uses it.
"""

from __future__ import annotations

import ctypes
import re
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dfast._files import encodable, lines_of, read_text, unreadable, user_path
from dfast._numbers import shown
from dfast.cli.options import UsageError, prior_name, read_file, read_overrides
from dfast.config import Config, presets
from dfast.config.checks import check_steps, device_parts
from dfast.config.methods import DEFAULT, METHODS
from dfast.config.parsing import overlay
from dfast.errors import ConfigError, DeviceError, ExportError, PromptError
from dfast.world.reading import read


def check_run(
    options: Namespace, resumed: Config | None = None, *, runs_here: bool = True
) -> Config:
    """Return about what the options of `add_settings` configure; raise what `dfast.train` would.

    Args:
        options: the parsed command line.
        resumed: the configuration of the run that is resumed.
        runs_here: whether the device has to be there.

    Raises:
        ConfigError: a number or a setting that cannot be used.
        DeviceError: there is no such device.
    """
    if options.steps is not None:
        check_steps(options.steps)
    check_device(options.device, is_here=runs_here)
    config = _settings(options, resumed)
    _check_guide(options, config.method.name)
    if prior_name(options) == "shapes" and config.guidance.negative:
        raise PromptError(
            "negative: expected '', the embedded prior knows no others, got "
            f"{shown(config.guidance.negative)}"
        )
    return config


def _check_guide(options: Namespace, method: str) -> None:
    """Raise UsageError for a CLIP where a prior guides, or the other way round."""
    by_clip, takes_clip = METHODS[method].guide == "clip", hasattr(options, "method")
    if by_clip and not takes_clip:
        raise UsageError(f"method: expected one that a prior guides, got {method!r}")
    if by_clip and options.prior:
        raise UsageError(f"--prior: expected without method {method!r}, which a CLIP guides")
    if takes_clip and options.clip and not by_clip:
        raise UsageError(f"--clip: expected with a method that a CLIP guides, got {method!r}")


def _settings(options: Namespace, resumed: Config | None) -> Config:
    """Return about what the options configure: a prior's family may have another base."""
    changes = [read_file(options), *read_overrides(options)]
    method = getattr(options, "method", None)
    if options.preset and method not in (None, DEFAULT):
        raise UsageError(
            f"--preset: expected without --method {method}, which has its own settings"
        )
    if options.preset:
        config = Config.from_dict(presets.named(options.preset, "cpu"))
    elif resumed is not None:
        config = resumed
    elif method is not None and method != DEFAULT:
        config = Config.for_method(method)
    else:
        try:
            config = Config.for_prior(prior_name(options))
        except ConfigError:  # a folder or a hub id, whose files tell the family
            config = Config.for_prior("sd")
    laid: dict[str, Any] = {}
    for tables in changes:
        laid = overlay(laid, tables)
    return config.replace(**laid)  # at once, as `dfast.runs.arguments.resolve_config` does it


def check_prompt(prompt: str, prior: str) -> None:
    """Raise PromptError for a prompt that is empty, or that the embedded prior does not know.

    Args:
        prompt: what to make.
        prior: name of the prior.
    """
    if not prompt.strip():
        raise PromptError(f"prompt: expected a description such as 'a red chair', got {prompt!r}")
    if not encodable(prompt):
        raise PromptError(f"prompt: expected text that UTF-8 can encode, got {ascii(prompt)[:80]}")
    if prior == "shapes":
        read(prompt)


def check_device(device: str | None, *, is_here: bool = True) -> None:
    """Raise DeviceError for a name that is no device, or a GPU where there surely is none.

    Args:
        device: "cpu", "cuda" or "cuda:N"; None is any.
        is_here: whether it has to be there.
    """
    if device is None:
        return
    if (found := device_parts(device)) is None:
        raise DeviceError(f"device: expected cpu, cuda or cuda:N, got {shown(device)}")
    kind, number = found
    if is_here and kind == "cuda":
        count = _cuda_devices()
        if count is not None and number >= count:
            raise DeviceError(
                f"device: '{device}' was asked for, but torch sees {count} CUDA devices; "
                "use device='cpu', or see `dfast doctor`"
            )


def _cuda_devices() -> int | None:
    """Return the number of GPUs that torch will see; None where that takes torch to know."""
    try:
        spec = find_spec("torch")
        about = Path(str(spec and spec.origin)).with_name("version.py").read_text(encoding="utf-8")
        if re.search(r"^cuda\b.*= None$", about, re.MULTILINE):
            return None if re.search(r"^hip\b.*= '", about, re.MULTILINE) else 0
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except (OSError, ValueError, UnicodeDecodeError):
        return None
    try:
        ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except AttributeError:
        return None
    return count.value if ready else None


def check_finished(path: str) -> None:
    """Raise RunFolderError unless there is the result of a finished run.

    Args:
        path: the run folder, or the file of the result.
    """
    from dfast.runs.unfinished import result_file

    result_file(path)


def check_ending(path: str, endings: tuple[str, ...]) -> str:
    """Return the ending of a file to write, in lower case.

    Args:
        path: the file.
        endings: those that can be written.

    Raises:
        ExportError: another ending.
    """
    ending = Path(path).suffix.lower()
    if ending not in endings:
        raise ExportError(
            f"the file to write must end in one of {', '.join(endings)}, got {shown(path)}"
        )
    return ending


def read_lines(path: str | None, option: str, what: str) -> list[str]:
    """Return the lines of a file without comments; none without a file.

    Args:
        path: the file.
        option: that names it, for messages.
        what: a line holds, for messages.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    return [] if path is None else [line for _, line in numbered_lines(path, option, what)]


def numbered_lines(path: str, option: str, what: str) -> list[tuple[int, str]]:
    """Return the lines of a file without comments, with their numbers from 1, see `read_lines`."""
    try:
        lines = list(lines_of(read_text(user_path(path))))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option}: '{path}' cannot be read ({unreadable(error)})") from error
    if not lines:
        raise ConfigError(f"{option}: expected a {what} a line, got none in '{path}'")
    return lines
