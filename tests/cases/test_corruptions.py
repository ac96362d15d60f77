"""A file that is corrupted in one place is refused, or the change is seen: it is never another value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.sources.file_formats import read_rows
from evergreen.spec.data import Features, Reading
from evergreen.spec.model import ModelSpec
from tests.cases.conftest import NOW

COUNT = 40
HEADER = ["id", "street", "price", "stock", "y"]
STREETS = ["Müller-Allee", "Hauptstraße", "Rue de l'Évêché", "Main St", "Åvägen"]
Cells = list[list[str]]


def _contract() -> Any:
    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "street": pa.Column(str),
            "price": pa.Column(float, nullable=True),
            "stock": pa.Column(int, nullable=True),
            "y": pa.Column(float),
        }
    )


def _cells() -> Cells:
    ids = [900_719_925_474_099_111 + 3 * n for n in range(COUNT)]
    return [[str(ids[n]), f"{STREETS[n % 5]} {n}", f"{n}.25", str(1234 + n), str(n % 7)] for n in range(COUNT)]


OTHER_NUMBERS = st.sampled_from(
    [
        *("12,5", "1 234.5", "1'234", "$12", "12 %", "(12)", "12-", "1_000", "0x1A", "12abc", "--5", "1e", "inf"),
        *("\u0661\u0662", "\uff11\uff12", "\u00bd", "\u221212"),
    ]
)
WORDS = st.sampled_from(["NA", "None", "null", "-", "n/a", "?", "NaN", "#N/A", "."])
ENCODINGS = st.sampled_from(["latin-1", "cp1252", "cp437", "mac-roman", "utf-16", "utf-16-le", "utf-32"])


@st.composite
def corrupted(draw: st.DrawFn) -> tuple[str, bytes, set[str]]:
    """The kind of a fault, a file that has it in one place, and the texts that are written there."""
    cells, mark = _cells(), draw(st.sampled_from(",;\t|"))
    row = cells[draw(st.integers(0, COUNT - 1))]
    kind = draw(st.sampled_from(["number", "word", "key", "quote", "field", "encoding", "order"]))
    encoding, written = "utf-8", set[str]()
    if kind == "number":
        row[draw(st.sampled_from([2, 3, 4]))] = draw(OTHER_NUMBERS)
    elif kind == "word":
        place = draw(st.integers(1, 4))
        row[place] = draw(WORDS)
        written.add(row[1])
    elif kind == "key":
        row[0] = draw(st.sampled_from(["9.00720E+17", "9.0072E17", "900719925474099111.5", "9,007E+17", "NA", ""]))
    elif kind == "field":
        place, gone = draw(st.integers(0, 4)), draw(st.integers(0, 1))
        row[place : place + gone] = ["7"] * draw(st.integers(0, 3).filter(lambda count: count != gone))
        written.update(row)
    elif kind == "encoding":
        encoding = draw(ENCODINGS)
    elif kind == "order":
        # No fault: rows in another order, and a line break of another system.
        cells = draw(st.permutations(cells))
    lines = [mark.join(f'"{cell}"' if mark in cell else cell for cell in line) for line in [HEADER, *cells]]
    text = draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""])
    if kind == "quote":
        place = draw(st.integers(0, len(text)))
        text = text[:place] + '"' + text[place:]
        written.update(text.replace("\r", "").replace("\n", mark).split(mark))
    return kind, text.encode(encoding), written


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
@given(case=corrupted())
def test_a_fault_is_refused_or_seen(
    case: tuple[str, bytes, set[str]], make_spec: Callable[..., ModelSpec], tmp_path_factory: Any
) -> None:
    """Every row that lands has the values of the file; every other one is refused, alone or with the file."""
    kind, content, written = case
    spec = make_spec(contract=_contract, time=None, timezone=None, holdout={"strategy": "random"}, reading=Reading(),
                     features=Features(numeric=("price", "stock"), categorical=("street",)))  # fmt: skip
    file: Path = tmp_path_factory.mktemp("fault") / "a.csv"
    file.write_bytes(content)
    frame, problem = read_rows(file)
    if frame is None:
        assert problem
        assert kind in ("quote", "field", "encoding")
        return
    found = check_batch(frame, spec, schema_of(spec), now=NOW, written=True)
    if found.problem:
        return
    assert len(found.rows) + len(found.rejected) == COUNT
    # A fault in one cell costs that row and no other; no fault costs nothing.
    assert len(found.rejected) <= (kind != "order")
    assert kind not in ("number", "key") or len(found.rejected) == 1
    true = {int(cells[0]): cells for cells in _cells()}
    for values in found.rows.to_dict("records"):
        _, street, price, stock, y = true[values["id"]]
        assert values["street"] == street or values["street"] in written
        for name, text in (("price", price), ("stock", stock), ("y", y)):
            value = values[name]
            assert (value == float(text)) or (name != "y" and pd.isna(value) and "" in written) or str(value) in written
