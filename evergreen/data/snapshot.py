"""The observations at one version of their table: what passes between tasks instead of a frame."""

from __future__ import annotations

from dataclasses import dataclass

CARRIED_KEYS = {"rows_position": "rows_mark", "labels_position": "labels_mark", "revision": "revision"}
"""Fields of a snapshot that each commit carries forward until one changes them, and the metadata key of each."""

CONTRACT = "contract"
"""Metadata of a commit: the digest of the contract that its batch was checked against."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The observations at one version of their table.

    Attributes:
        table: its URI.
        version: its Delta version.
        rows: how many there are.
        start: the earliest time (ISO 8601, UTC); None without rows or without a time column.
        end: the latest time.
        next_row: the number that the next row to land gets; rows with smaller numbers landed by this version.
        digest: of the content, 32 hex digits; equal content has an equal digest whatever source it came from.
        rows_position: how far the source of rows was read, if it is resumable (see `ingest/read_position.py`).
        labels_position: the same for the source of labels.
        revision: the source's revision that the newest rows came from, if it has revisions.
    """

    table: str
    version: int
    rows: int
    start: str | None
    end: str | None
    next_row: int
    digest: str
    rows_position: str = ""
    labels_position: str = ""
    revision: str = ""
