"""The noise schedule of a pipeline folder, and what its network predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dfast._device import ran_out
from dfast.errors import PriorError
from dfast.priors.diffusion import eps_from_flow, eps_from_v
from dfast.priors.flow_schedule import flow_sigmas, is_flow
from dfast.priors.loading.folder import first_line, one_line
from dfast.priors.loading.imports import class_of
from dfast.priors.loading.quiet import quiet

_KEYS = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
    "rescale_betas_zero_snr",
)  # fmt: skip
PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a network of a diffusion model predicts; that of a flow predicts its velocity, "flow"."""


class NoiseSchedule:
    """alpha and sigma as in training, and the conversion of the network's output to eps.

    Samplers of all kinds share these settings, so any scheduler_config.json will do.

    Attributes:
        prediction: what the network predicts, one of `PREDICTIONS` or "flow".
        alpha: [T] float32, from clean to noise.
        sigma: [T] float32. alpha^2 + sigma^2 = 1 of a diffusion model; alpha + sigma = 1 of a flow.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        name: str = "",
        shift: Callable[[Mapping[str, Any]], float] | None = None,
    ) -> None:
        """Compute the schedule.

        Args:
            config: the content of scheduler_config.json.
            name: of the prior, for messages.
            shift: gives mu of `flow_sigmas` for the same content, where the shift of a flow depends
                on the size of the image.

        Raises:
            PriorError: for a schedule or a prediction type that is not known.
        """
        if is_flow(config):
            self.prediction = "flow"
            try:
                dynamic = shift is not None and config.get("use_dynamic_shifting")
                self.sigma = flow_sigmas(config, shift(config) if shift and dynamic else None)
            except (ValueError, ArithmeticError) as error:  # numbers that divide by 0 or overflow
                raise _error(name, f"cannot use its noise schedule ({error})") from error
            self.alpha = 1.0 - self.sigma
        else:
            self._from_betas(config, name)

    def _from_betas(self, config: Mapping[str, Any], name: str) -> None:
        """Compute the schedule of a diffusion model. Raises PriorError."""
        self.prediction = str(config.get("prediction_type") or "epsilon")
        if self.prediction not in PREDICTIONS:
            expected = f"a prediction_type of {', '.join(PREDICTIONS)}"
            raise _error(name, f"expected {expected}, got {self.prediction!r}")
        if not any(config.get(key) is not None for key in ("beta_schedule", "trained_betas")):
            raise _error(
                name,
                "expected a scheduler with a beta_schedule or trained_betas, got "
                f"{config.get('_class_name')} without, whose noise is of another kind",
            )
        known = {key: config[key] for key in _KEYS if config.get(key) is not None}
        made = class_of("diffusers", "DDPMScheduler")
        try:
            with quiet("diffusers"):
                scheduler: Any = made(**known)
        except Exception as error:  # foreign settings fail in many ways
            if ran_out(error):
                raise
            reason = first_line(str(error))
            raise _error(name, f"cannot use its noise schedule ({reason})") from error
        alphas_bar, betas = scheduler.alphas_cumprod.float(), scheduler.betas
        sound = bool(((betas > 0) & (betas <= 1)).all())
        if alphas_bar.ndim != 1 or len(alphas_bar) < 2 or not sound:
            raise _error(name, f"expected a noise schedule with betas in (0, 1], got {known}")
        self.alpha, self.sigma = alphas_bar.sqrt(), (1.0 - alphas_bar).sqrt()

    def to(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Move to `device`, and return (alpha [T], sigma [T])."""
        self.alpha, self.sigma = self.alpha.to(device), self.sigma.to(device)
        return self.alpha, self.sigma

    def time(self, t: Tensor) -> Tensor:
        """Return what stands for timesteps in the scheduler: t itself, or T sigma of a flow.

        Args:
            t: [B] int64 timesteps.
        """
        if self.prediction != "flow":
            return t
        sigma = self.to(t.device)[1]
        return sigma[t] * len(sigma)

    def eps(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Return the noise that the network's output stands for, [B, C, h, w].

        Args:
            output: of the network, [B, C, h, w].
            noisy: its input, [B, C, h, w].
            t: [B] int64 timesteps.
        """
        if self.prediction == "epsilon":
            return output
        alpha, sigma = (table[t] for table in self.to(noisy.device))
        if self.prediction == "v_prediction":
            return eps_from_v(output, noisy, alpha, sigma)
        if self.prediction == "flow":
            return eps_from_flow(output, noisy, alpha)
        return (noisy - alpha.view(-1, 1, 1, 1) * output) / sigma.view(-1, 1, 1, 1)


def _error(name: str, text: str) -> PriorError:
    return PriorError(f"prior {one_line(name, repr)}: {one_line(text)}")
