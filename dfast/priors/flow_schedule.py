"""The noise levels of flow matching: x_t = (1 - sigma) x + sigma eps, and their shift.

The noise levels of a flow have no betas: sigma runs from 0 to 1, and a shift moves the levels that
are visited towards noise, further for larger images. docs/math.md, "Flow matching".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Classes of diffusers whose noise is always that of a flow."""


def is_flow(config: Mapping[str, Any]) -> bool:
    """Return whether a scheduler_config.json says that the noise is that of a flow."""
    flow = config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas")
    return config.get("_class_name") in FLOW_SCHEDULERS or bool(flow)


def flow_sigmas(config: Mapping[str, Any], mu: float | None = None) -> Tensor:
    """Return sigma [T] float32 from clean to noise, shifted as the scheduler shifts it.

    Args:
        config: the content of scheduler_config.json.
        mu: logarithm of the shift, where it depends on the size of the image ("dynamic shifting");
            see `dynamic_mu`. None takes the smallest image that the scheduler names.

    Raises:
        ValueError: for numbers or a kind of shift that cannot be used.
    """
    steps = config.get("num_train_timesteps") or 1000
    if type(steps) is not int or steps < 2:
        raise ValueError(f"num_train_timesteps: expected at least 2, got {steps!r}")
    if config.get("invert_sigmas"):
        raise ValueError("invert_sigmas: expected false, got true")
    sigma = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    if config.get("use_dynamic_shifting"):
        shift = base_shift(config) if mu is None else mu
        kind = config.get("time_shift_type") or "exponential"
        if kind not in ("exponential", "linear"):
            raise ValueError(f"time_shift_type: expected exponential or linear, got {kind!r}")
        factor = math.exp(shift) if kind == "exponential" else shift
    else:
        factor = config.get("shift") or config.get("flow_shift") or 1.0
    if type(factor) not in (int, float) or not 0.0 < factor < math.inf:
        raise ValueError(f"shift: expected a positive number, got {factor!r}")
    return (factor * sigma / (1.0 + (factor - 1.0) * sigma)).float()


def base_shift(config: Mapping[str, Any]) -> float:
    """Return mu of the smallest image that a scheduler with dynamic shifting names."""
    return _number(config, "base_shift", 0.5)


def dynamic_mu(config: Mapping[str, Any], tokens: int) -> float:
    """Return mu of an image: linear in its tokens, as the pipelines compute it.

    Args:
        config: the content of scheduler_config.json.
        tokens: of the image in the transformer.
    """
    low, high = (
        _number(config, "base_image_seq_len", 256),
        _number(config, "max_image_seq_len", 4096),
    )
    start, end = base_shift(config), _number(config, "max_shift", 1.15)
    return start + (end - start) * (tokens - low) / (high - low)


def empirical_mu(tokens: int, steps: int = 50) -> float:
    """Return mu of an image by the fit of FLUX.2's pipeline, for that many sampling steps.

    Args:
        tokens: of the image in the transformer.
        steps: of the sampler; a base model is sampled in 50.
    """
    many = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return many
    few = 8.73809524e-05 * tokens + 1.89833333
    slope = (many - few) / 190.0
    return slope * steps + many - 200.0 * slope


def _number(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key)
    value = default if value is None else value
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{key}: expected a number, got {value!r}")
    return float(value)
