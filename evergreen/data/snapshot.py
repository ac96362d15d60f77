"""The observations at one version of their table: what passes between tasks instead of a frame."""

from __future__ import annotations

from dataclasses import dataclass

CARRIED = ("rows_mark", "labels_mark", "revision")
"""What a commit says that holds until another one says otherwise."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The observations at one version of their table.

    Attributes:
        table: its URI.
        version: its Delta version.
        rows: how many there are.
        start: the earliest time (ISO 8601, UTC); None without rows or without a time column.
        end: the latest time.
        next_row: the number that the next row to land gets; rows before it were landed by this version.
        digest: of the content, 32 hex digits; equal content has an equal digest whatever source it came from.
        rows_mark: how far the source of rows was read, where it goes on from a mark (see `ingest/read_position.py`).
        labels_mark: the same of the source of labels.
        revision: of the source, that the newest rows came from, where it keeps revisions.
    """

    table: str
    version: int
    rows: int
    start: str | None
    end: str | None
    next_row: int
    digest: str
    rows_mark: str = ""
    labels_mark: str = ""
    revision: str = ""
