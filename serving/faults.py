"""What is wrong with a request: a status, a stable code and a sentence, never a value of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

MAX_FAULTS = 20
"""Faults of rows that an answer names; it counts the rest."""


@dataclass(frozen=True, slots=True)
class RowFault:
    """One thing that is wrong with one row.

    Attributes:
        row: its position in the request, from 0.
        column: which column; empty where it is the row as a whole.
        reason: what the contract says.
    """

    row: int
    column: str
    reason: str


class RequestError(Exception):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        code: a word that a client may rely on.
        message: a sentence for a person.
        faults: of its rows.
    """

    def __init__(
        self, status: HTTPStatus, code: str, message: str, faults: tuple[RowFault, ...] = (), allow: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.faults = faults
        self.allow = allow

    def body(self, request_id: str) -> dict[str, object]:
        """The JSON object that is answered."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.faults:
            shown = self.faults[:MAX_FAULTS]
            error["rows"] = [{"row": fault.row, "column": fault.column, "reason": fault.reason} for fault in shown]
            error["more"] = len(self.faults) - len(shown)
        return {"error": error, "request_id": request_id}


def unprocessable(code: str, message: str, faults: tuple[RowFault, ...] = ()) -> RequestError:
    """A request that was understood and breaks the contract."""
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, code, message, faults)


def malformed(message: str) -> RequestError:
    """A request that is not in the form that its protocol asks for."""
    return RequestError(HTTPStatus.BAD_REQUEST, "malformed", message)
