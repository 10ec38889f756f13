"""What can go wrong. Every error of this package is a CyxwizError."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Sequence

if TYPE_CHECKING:
    from cyxwiz.types import JobStatus


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a refused job."""

    #: Where: JSON path into the job, such as ``$.model.layers[2].units``.
    path: str
    message: str
    expected: str
    found: str
    #: What to do about it; may be empty.
    hint: str

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}"
        if self.expected:
            text += f": expected {self.expected}"
            if self.found:
                text += f", found {self.found}"
        return f"{text} ({self.hint})" if self.hint else text


class CyxwizError(Exception):
    """Base of all errors.

    Attributes:
        code: the gRPC code's name, such as ``"NOT_FOUND"``; empty when no call failed.
        message: what was expected, what was found, where, and what to do.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class NotFound(CyxwizError):
    """There is no such job, node or file."""


class Refused(CyxwizError):
    """The server does not take the request as it is; asking again will not help.

    Attributes:
        problems: everything wrong with a submitted job; empty for other requests.
    """

    def __init__(self, message: str, code: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, code)
        self.problems = list(problems)


class Unreachable(CyxwizError):
    """No server answers at the address, or the connection broke."""


class Timeout(CyxwizError, TimeoutError):
    """The time given to a call ran out."""


class Corrupt(CyxwizError):
    """A downloaded file is not the one the job left: its size or SHA-256 differs."""


class JobEnded(CyxwizError):
    """A job that was waited for ended otherwise than with success.

    Attributes:
        status: the job's final status.
    """

    def __init__(self, message: str, status: Optional["JobStatus"] = None) -> None:
        super().__init__(message)
        self.status = status


class JobFailed(JobEnded):
    """The job failed."""


class JobCancelled(JobEnded):
    """The job was cancelled."""
