"""The same results whatever a host program has set in torch around a call.

Autocast, another default dtype or device, and inference mode reach into every call made inside
them: weights would be read onto another device, tables computed in another precision, and
parameters made that no gradient can pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def neutral() -> Iterator[None]:
    """Set torch's ambient state to what a fresh process has; also a decorator, `@neutral()`.

    Whether gradients are recorded stays as it is outside.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            recording = torch.is_grad_enabled()
            stack.enter_context(torch.inference_mode(False))  # which switches recording on
            stack.enter_context(torch.set_grad_enabled(recording))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if (dtype := torch.get_default_dtype()) != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if not _default_device_is_cpu():
            stack.enter_context(torch.device("cpu"))
        yield


def _default_device_is_cpu() -> bool:
    try:
        return torch.get_default_device().type == "cpu"
    except Exception:  # a device that is not there fails in ways of its own
        return False
