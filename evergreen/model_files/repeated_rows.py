"""Files beside the one that a model file is started from that repeat its rows, as a full export every day does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evergreen.errors import DataError
from evergreen.model_files.column_types import quote_name
from evergreen.model_files.first_rows import WESTERN, read_head

if TYPE_CHECKING:
    import pandas as pd

MAX_FILES = 3
MAX_ROWS = 20_000
"""Of each file beside it, so that a folder of many large files costs no more than a moment."""

TOLD_SHARE = 0.5
"""Some rows are alike by chance."""


def find_repeats(csv: Path, frame: pd.DataFrame) -> tuple[str, ...]:
    """A note for each file beside `csv` most of whose rows are rows of `frame`, word for word."""
    file = Path(os.path.realpath(csv))
    if not file.is_file():
        return ()
    others = sorted(each for each in file.parent.glob(f"*{''.join(file.suffixes[-1:])}") if each != file)
    # Of many files those next to it by name: of a daily export the days after.
    others = sorted(others, key=lambda each: (each.name < file.name, each.name))[:MAX_FILES]
    notes = []
    for other in others:
        try:
            rows, _ = read_head(other, rows=MAX_ROWS, encoding=WESTERN)
        except DataError:
            continue
        repeated = _count_repeats(rows, frame)
        if repeated >= TOLD_SHARE * len(rows):
            notes.append(
                f"{repeated:,} of {len(rows):,} rows of {quote_name(other.name)} beside it are rows of this file again"
            )
    return tuple(notes)


def _count_repeats(rows: pd.DataFrame, frame: pd.DataFrame) -> int:
    import pandas as pd

    if list(rows.columns) != list(frame.columns):
        return 0
    hashes = [pd.util.hash_pandas_object(each.astype("str"), index=False).to_numpy() for each in (rows, frame)]
    return int(np.isin(hashes[0], hashes[1]).sum())
