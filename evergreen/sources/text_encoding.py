"""The encoding of a CSV file's text. Nothing is guessed: it is UTF-8, or what the model file names."""

from __future__ import annotations

import codecs
from pathlib import Path

from evergreen.sources.csv_file import BLOCK_BYTES, RejectedFileError, open_bytes

NOT_UTF8 = "its text is not UTF-8"
NAME_ENCODING = "save it as UTF-8, or name its encoding: Folder(..., encoding='cp1252')"


def find_encoding(file: Path, named: str, *, packed: bool) -> str:
    """The encoding of a file's text: UTF-8 where all of it is, which no other text is by accident, else `named`.

    Raises:
        RejectedFileError: the text is not UTF-8 and no other encoding is named, or it is not of that one either.
    """
    number = _first_undecodable(file, "utf-8", packed=packed)
    if number and codecs.lookup(named).name == "utf-8":
        raise RejectedFileError(f"{NOT_UTF8}, first in line {number}; {NAME_ENCODING}")
    if number and (other := _first_undecodable(file, named, packed=packed)):
        raise RejectedFileError(
            f"its text is neither UTF-8, first in line {number}, nor {named}, first in line {other}"
        )
    return named if number else "utf-8"


def _first_undecodable(file: Path, encoding: str, *, packed: bool) -> int:
    """The number of the first line that is not text of an encoding; 0 if all of them are."""
    decoder, lines = codecs.getincrementaldecoder(encoding)(), 1
    with open_bytes(file, packed=packed) as handle:
        while block := handle.read(BLOCK_BYTES):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return lines + block.count(b"\n", 0, error.start)
            lines += block.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return lines
    return 0
