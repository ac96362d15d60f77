"""Where rows come from: folders, object stores, Parquet, Delta, SQL, DVC, bundled data and the simulator.

The door for model files: `from evergreen.sources import Folder`.
"""

from evergreen.sources.base import Batch, Resumable, Source, Waiting
from evergreen.sources.bundled import Bundled
from evergreen.sources.delta import DeltaSource
from evergreen.sources.dvc import DvcSource
from evergreen.sources.fallback import Fallback
from evergreen.sources.folder import Folder
from evergreen.sources.object_store import ObjectFolder
from evergreen.sources.parquet import ParquetDataset
from evergreen.sources.simulator import Simulator
from evergreen.sources.sql import SqlSource

__all__ = [
    "Batch",
    "Bundled",
    "DeltaSource",
    "DvcSource",
    "Fallback",
    "Folder",
    "ObjectFolder",
    "ParquetDataset",
    "Resumable",
    "Simulator",
    "Source",
    "SqlSource",
    "Waiting",
]
