"""Nothing is loaded that is not what was registered, and no code of an artifact runs."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.sparse import csr_matrix
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from evergreen.errors import ArtifactError, EvergreenError, ModelFileError
from evergreen.registry.artifacts import PIPELINE, load_pipeline, packed, sha256, state_sha256, verify

LABEL = "toy version 3"
LINE = ([[0.0], [1.0], [2.0]], [0.0, 2.0, 4.1])


def _stored(folder: Path, content: bytes) -> str:
    (folder / PIPELINE).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def plain() -> bytes:
    """A stored pipeline."""
    return skops.io.dumps(Pipeline([("model", Ridge().fit([[0.0], [1.0]], [0.0, 2.0]))]))


@pytest.mark.parametrize(
    "made",
    [
        lambda: Ridge(),
        lambda: RandomForestRegressor(3, random_state=1),
        lambda: HistGradientBoostingRegressor(max_iter=3, random_state=1),
        lambda: Pipeline([("sparse", FunctionTransformer(csr_matrix)), ("model", KNeighborsRegressor())]),
    ],
)
def test_equal_fits_have_one_state(tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same rows at another time the file is another one and the state the same; of other rows it is not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    found = []
    for moment, target in ((1e9, y), (1.5e9, y.copy()), (1e9, y * (1 + 1e-6))):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        (tmp_path / PIPELINE).write_bytes(skops.io.dumps(made().fit(x.copy(), target)))
        found.append((sha256(tmp_path / PIPELINE), state_sha256(tmp_path / PIPELINE)))
    first, again, changed = found
    assert first[0] != again[0] and first[1] == again[1] != changed[1]


def _one_line(caught: pytest.ExceptionInfo[EvergreenError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert LABEL in text
    return text


def test_loads_what_was_registered(tmp_path: Path, plain: bytes) -> None:
    """A pipeline whose hash agrees is loaded and predicts as before."""
    loaded = load_pipeline(tmp_path, _stored(tmp_path, plain), (), LABEL)
    assert float(loaded.predict([[0.5]])[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("change", ["swapped", "truncated", "empty", "missing", "folder"])
def test_refuses_another_file(tmp_path: Path, plain: bytes, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was swapped, cut or taken away is refused before skops sees it."""
    expected = _stored(tmp_path, plain)
    path = tmp_path / PIPELINE
    other = skops.io.dumps(Pipeline([("model", Ridge(alpha=9))]))
    path.unlink()
    if change == "folder":
        path.mkdir()
    elif change != "missing":
        path.write_bytes({"swapped": other, "truncated": plain[:-20], "empty": b""}[change])

    def never(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("it was opened before its hash was known")

    monkeypatch.setattr(skops.io, "loads", never)
    monkeypatch.setattr(skops.io, "load", never)
    with pytest.raises(ArtifactError) as caught:
        load_pipeline(tmp_path, expected, (), LABEL)
    assert "roll back" in _one_line(caught)


def test_loads_the_bytes_that_were_hashed(tmp_path: Path, plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is swapped between the check and the loading is not the one that is loaded."""
    expected, real = _stored(tmp_path, plain), skops.io.loads

    def swap_then_load(*args: Any, **kwargs: Any) -> Any:
        (tmp_path / PIPELINE).write_bytes(b"something else")
        return real(*args, **kwargs)

    monkeypatch.setattr(skops.io, "loads", swap_then_load)
    assert isinstance(load_pipeline(tmp_path, expected, (), LABEL), Pipeline)


class _Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.canary)!r}, 'w').close()",)


def _calling(name: str, module: str, plain: bytes) -> bytes:
    """The stored pipeline with its model's class changed to another callable."""
    source, target = zipfile.ZipFile(io.BytesIO(plain)), io.BytesIO()
    schema = json.loads(source.read("schema.json"))

    def change(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("__class__") == "Ridge":
                node["__class__"], node["__module__"] = name, module
            for child in node.values():
                change(child)
        elif isinstance(node, list):
            for child in node:
                change(child)

    change(schema)
    with zipfile.ZipFile(target, "w") as written:
        for item in source.namelist():
            written.writestr(item, json.dumps(schema) if item == "schema.json" else source.read(item))
    return target.getvalue()


def test_runs_nothing_of_a_pickle(tmp_path: Path) -> None:
    """A pickle in the pipeline's place runs no code, even where its hash was made to agree."""
    canary = tmp_path / "canary"
    expected = _stored(tmp_path, pickle.dumps(_Payload(canary)))
    with pytest.raises(ArtifactError) as caught:
        load_pipeline(tmp_path, expected, (), LABEL)
    _one_line(caught)
    assert not canary.exists()


@pytest.mark.parametrize(("name", "module"), [("system", "os"), ("exec", "builtins"), ("Popen", "subprocess")])
def test_names_what_a_crafted_file_would_call(tmp_path: Path, plain: bytes, name: str, module: str) -> None:
    """A skops file that asks for a type nobody trusts is refused, and the type is named."""
    with pytest.raises((ModelFileError, ArtifactError)) as caught:
        load_pipeline(tmp_path, _stored(tmp_path, _calling(name, module, plain)), (), LABEL)
    assert name in _one_line(caught)


def test_a_stored_function_runs_nothing(tmp_path: Path) -> None:
    """A transformer that holds a function of the system is refused by the function's name."""
    import os

    content = skops.io.dumps(Pipeline([("call", FunctionTransformer(os.system))]))
    with pytest.raises(ModelFileError, match="system") as caught:
        load_pipeline(tmp_path, _stored(tmp_path, content), (), LABEL)
    _one_line(caught)


def test_untrusted_types_are_refused_before_storing(tmp_path: Path) -> None:
    """What could not be loaded again is named with what to add to the model file; what that trusts can be loaded."""
    from sklearn.preprocessing import FunctionTransformer

    score = "numpy.nan_to_num"
    best = Pipeline([("best", FunctionTransformer(np.nan_to_num)), ("model", Ridge())]).fit(*LINE)
    with pytest.raises(ModelFileError) as caught:
        packed(best, "models/best.py", ())
    assert str(caught.value) == (
        f"models/best.py: trusted: the pipeline holds {score}, and the file does not say that you trust it. "
        f"If you do, write in it: trusted=('{score}',)"
    )
    expected = _stored(tmp_path, packed(best, "models/best.py", (score,)))
    again = load_pipeline(tmp_path, expected, (score,), LABEL)
    assert again.predict([[1.0]]) == best.predict([[1.0]])


def test_a_folder_is_known_by_names_and_content(tmp_path: Path) -> None:
    """A changed, added, renamed or missing file gives another hash; the order of making does not."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, "ab"), (two, "ba")):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
    expected = sha256(one)
    assert sha256(two) == expected
    verify(two, expected, LABEL)
    for change in (
        lambda: (two / "a").write_text("x"),
        lambda: (two / "c").write_text(""),
        lambda: (two / "b").rename(two / "d"),
        (two / "a").unlink,
    ):
        change()
        with pytest.raises(ArtifactError, match="not what was registered"):
            verify(two, expected, LABEL)
    with pytest.raises(ArtifactError, match="is missing"):
        verify(tmp_path / "gone", expected, LABEL)
