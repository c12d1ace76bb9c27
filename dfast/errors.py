"""Every error that dfast raises on purpose, and the category of its warnings.

Each message is one line that names the argument, what was expected and what was given, and where it
helps the command or setting that fixes it. The command line prints the message after ``dfast:
error:`` and exits with 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class DfastError(ValueError):
    """Base of dfast's own errors."""


class ConfigError(DfastError):
    """A setting, or an argument of `dfast.train`, that cannot be used."""


class PromptError(DfastError):
    """An empty prompt, or one with words that the prior does not know."""


class PriorError(DfastError):
    """A prior that is missing, damaged or unfit for the request."""


class RunFolderError(DfastError):
    """A run folder that cannot be written, belongs to another run or holds a damaged file."""


class DeviceError(DfastError):
    """A device that is named and is not there."""


class OutOfMemoryError(DfastError):
    """A device without enough memory for the configuration."""


class NativeMissingError(DfastError):
    """The native extension, or the part of it that the device needs, is not built."""


class ExportError(DfastError):
    """A result from which no mesh, image or film can be made."""


class NonFiniteError(DfastError):
    """Gradients stayed non-finite after skipped steps and rewinds to the last good state."""


class CollapsedError(DfastError):
    """The scene became empty or fully opaque, and did so again after it was re-seeded."""


class DfastWarning(UserWarning):
    """Something that the user may want to change, while the work goes on.

    The command line shows it after ``dfast:`` in one line.
    """


class RunsFailedError(DfastError):
    """Some of several runs failed; the others are done.

    Attributes:
        results: of the runs, None for those that failed.
        errors: by the index of the run.
    """

    def __init__(
        self, message: str, results: Sequence[Any], errors: Mapping[int, DfastError]
    ) -> None:
        """Keep what there is.

        Args:
            message: one line.
            results: of the runs, None for those that failed.
            errors: by the index of the run.
        """
        super().__init__(message)
        self.results, self.errors = list(results), dict(errors)
