"""The data sets that come with scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from evergreen.errors import ModelFileError
from evergreen.sources.base import Batch, Waiting
from evergreen.sources.file_formats import hash_parts

if TYPE_CHECKING:
    import pandas as pd

Dataset = Literal["iris", "breast_cancer", "diabetes", "wine", "digits"]


@dataclass(frozen=True, slots=True)
class Bundled:
    """One of the data sets that come with scikit-learn, as a single batch in its own order.

    Column names are in snake case. The target of `iris` is `species`, as text. The target of the others is `target`:
    the name of the class as text, for `diabetes` a float.
    """

    name: Dataset

    def __post_init__(self) -> None:
        """Refuse an unknown name."""
        if self.name not in get_args(Dataset):
            names = ", ".join(get_args(Dataset))
            raise ModelFileError(f"source: {self.name!r} is not bundled with scikit-learn.", f"Choose one of {names}.")

    def fingerprint(self, root: Path) -> str:
        """The data set's name and scikit-learn's version; scikit-learn is not imported."""
        from importlib.metadata import version

        return f"{self.name} of scikit-learn {version('scikit-learn')}"

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield the data set, if its content is new."""
        frame = self._load()
        batch = hash_parts(self.name, frame.to_csv(index=False).encode())
        if new(batch):
            yield Batch(batch, f"scikit-learn's {self.name}", frame)

    def _load(self) -> pd.DataFrame:
        from sklearn import datasets

        data = getattr(datasets, f"load_{self.name}")(as_frame=True)
        frame: pd.DataFrame = data.data.rename(columns=_snake_case)
        target = data.target
        if self.name != "diabetes":
            classes = [str(name) for name in data.target_names]
            target = target.map(dict(enumerate(classes))).astype("str")
        return frame.assign(**{"species" if self.name == "iris" else "target": target})


def _snake_case(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")
