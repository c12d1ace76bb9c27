"""What a folder's scheduler says of the noise, and of what the network predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dfast.errors import PriorError
from dfast.priors.diffusion import eps_from_v
from dfast.priors.loading._quiet import quiet

_KEYS = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
    "rescale_betas_zero_snr",
)  # fmt: skip
PREDICTIONS = ("epsilon", "v_prediction", "sample")


class NoiseSchedule:
    """alpha and sigma of training, and eps from the network's output.

    Samplers of all kinds share these settings, so any scheduler_config.json will do.
    """

    def __init__(self, config: Mapping[str, Any], name: str = "") -> None:
        """name: of the prior, for messages. Raises PriorError for what is not known."""
        import diffusers

        self.prediction = str(config.get("prediction_type") or "epsilon")
        if self.prediction not in PREDICTIONS:
            raise PriorError(
                f"prior {name!r}: expected a prediction_type of {', '.join(PREDICTIONS)}, "
                f"got {self.prediction!r}"
            )
        if not any(config.get(key) is not None for key in ("beta_schedule", "trained_betas")):
            raise PriorError(
                f"prior {name!r}: expected a scheduler with a beta_schedule or trained_betas, got "
                f"{config.get('_class_name')} without, whose noise is of another kind"
            )
        known = {key: config[key] for key in _KEYS if config.get(key) is not None}
        try:
            with quiet():
                made: Any = diffusers.DDPMScheduler(**known)
        except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise PriorError(f"prior {name!r}: cannot use its noise schedule ({reason})") from error
        bar = made.alphas_cumprod.float()
        if len(bar) < 2 or not bool(((made.betas > 0) & (made.betas <= 1)).all()):
            raise PriorError(
                f"prior {name!r}: expected a noise schedule with betas in (0, 1], got {known}"
            )
        self.alpha, self.sigma = bar.sqrt(), (1.0 - bar).sqrt()

    def to(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(alpha [T], sigma [T]) there."""
        self.alpha, self.sigma = self.alpha.to(device), self.sigma.to(device)
        return self.alpha, self.sigma

    def eps(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The noise in `noisy` [B,C,h,w] from the network's output there; t [B] int64."""
        if self.prediction == "epsilon":
            return output
        alpha, sigma = (table[t] for table in self.to(noisy.device))
        if self.prediction == "v_prediction":
            return eps_from_v(output, noisy, alpha, sigma)
        return (noisy - alpha.view(-1, 1, 1, 1) * output) / sigma.view(-1, 1, 1, 1)
