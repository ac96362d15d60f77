"""The errors that a person can fix. Everything else is a bug and keeps its traceback."""

from __future__ import annotations


class EvergreenError(Exception):
    """A fault outside the code: bad input, a missing file, a locked database.

    Attributes:
        what: what is wrong and where (file, row, column, setting), one line.
        fix: what to do next, one line.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        self.what = " ".join(what.split())
        self.fix = " ".join(fix.split())
        super().__init__(f"{self.what} {self.fix}".strip())

    def __reduce__(self) -> tuple[type[EvergreenError], tuple[str, str]]:
        """Pickle by both parts, so that the error survives a process boundary."""
        return type(self), (self.what, self.fix)


class ModelFileError(EvergreenError):
    """A mistake in a model file; the message names the file and the field."""


class DataError(EvergreenError):
    """Data that cannot be used: nothing to train on, one class only, a constant target."""


class RegistryError(EvergreenError):
    """The model registry cannot do what was asked: locked, missing, of another version."""


class RefusedError(RegistryError):
    """A version that may not be moved as asked; nothing was changed."""


class ArtifactError(EvergreenError):
    """A stored model that is not the one that was registered; it is never loaded."""


class LostError(ArtifactError):
    """A version, its run or its files that are gone from where the registry has them."""


class BusyError(EvergreenError):
    """Another run holds the model's lock."""


class ForeignError(EvergreenError):
    """A write to what another environment owns; nothing was written."""

    @classmethod
    def of(cls, what: str, environment: str) -> ForeignError:
        """The error for a write, such as `The table s3://...`, by the name of the environment; empty for none."""
        whose = f"the environment {environment}" if environment else "the environment without a name"
        return cls(
            f"{what} belongs to {whose}, which EVERGREEN_SEES allows to read and not to write: nothing was written.",
            f"Do it where EVERGREEN_ENVIRONMENT is {environment or 'not set'}.",
        )
