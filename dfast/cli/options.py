"""From the command line's options to a configuration."""

from __future__ import annotations

from argparse import Namespace

from dfast.config import Config
from dfast.config.overrides import changed
from dfast.errors import ConfigError


def settings(options: Namespace, begun: Config | None = None) -> Config | None:
    """The configuration that --config, --preset, --set and --negative name; `begun` if none does.

    What they leave out is as in `begun`, the settings of the run that goes on, or else as `unsaid`.
    """
    if options.config and options.preset:
        raise ConfigError("--config and --preset: expected one of them, got both")
    negative = getattr(options, "negative", None)
    if not (options.config or options.preset or options.set or negative is not None):
        return begun
    if options.preset == "dreamfusion":
        made = Config.dreamfusion()
    elif options.preset == "default":
        made = Config.default(_device_kind(options.device))
    else:
        made = begun or unsaid(options)
        made = Config.load(options.config, base=made) if options.config else made
    made = changed(made, options.set)
    return made if negative is None else made.replace(guidance={"negative": negative})


def prior_name(options: Namespace) -> str:
    """What --prior says; the embedded one if it is not given."""
    return "shapes" if options.prior is None else str(options.prior)


def unsaid(options: Namespace) -> Config:
    """The settings where nobody names any: those of the prior, on the device."""
    from dfast.runs.arguments import default_config

    kind, download = _device_kind(options.device), getattr(options, "download", False)
    return default_config(prior_name(options), kind, download=download)


def _device_kind(device: str | None) -> str:
    from dfast._device import parse_device, pick_device

    return (pick_device(None) if device is None else parse_device(device)).type
