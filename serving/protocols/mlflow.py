"""`POST /invocations`, as MLflow's scoring server answers it: its four JSON forms and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from serving.faults import malformed
from serving.protocols.call import Call, parse_json, require_objects, require_type
from serving.version import Answer, ServedVersion

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_CSV = "text/csv"


def read_call(content_type: str, body: bytes, features: Sequence[str]) -> Call:
    """The rows of a request.

    Args:
        content_type: of the body.
        body: of the request.
        features: the names of the values of rows that are lists.

    Raises:
        RequestError: it is in another form.
    """
    require_type(content_type, "application/json", _CSV)
    if content_type == _CSV:
        return Call(frame=_read_csv(body), written=True)
    given = parse_json(body)
    forms = [name for name in FORMS if name in given] if isinstance(given, dict) else []
    if len(forms) != 1:
        raise malformed(f"The body has to be a JSON object with one of {', '.join(FORMS)}.")
    value = given[forms[0]]
    if forms[0] == "dataframe_split":
        return Call(_from_split(value))
    if forms[0] == "dataframe_records":
        return Call(require_objects(value))
    if isinstance(value, dict):
        return Call(_from_columns(value))
    if isinstance(value, list) and value and isinstance(value[0], list):
        return Call(_from_lists(value, features))
    return Call(require_objects(value))


def _read_csv(body: bytes) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(BytesIO(body), dtype="str", keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise malformed(f"The body is not CSV with a header in UTF-8 ({type(error).__name__}).") from None
    if frame.empty:
        raise malformed("There is no row in it.")
    return frame


def _from_split(value: Any) -> list[dict[str, Any]]:
    columns = value.get("columns") if isinstance(value, dict) else None
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(columns, list) or not isinstance(data, list):
        raise malformed("dataframe_split needs columns, a list of names, and data, a list of lists.")
    return _from_lists(data, columns)


def _from_lists(data: Sequence[Any], names: Sequence[Any]) -> list[dict[str, Any]]:
    if not data:
        raise malformed("There is no row in it.")
    for position, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(names):
            raise malformed(f"Row {position} is not a list of {len(names)} values, one for each column.")
    if len(set(map(str, names))) != len(names):
        raise malformed("Two columns have the same name.")
    return [dict(zip(map(str, names), row, strict=True)) for row in data]


def _from_columns(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of lists of one length, one list for each column; a column of one value may be that value alone."""
    columns = {name: each if isinstance(each, list) else [each] for name, each in value.items()}
    lengths = {len(each) for each in columns.values()}
    if len(lengths) != 1 or not next(iter(lengths)):
        raise malformed("The columns have to be lists of one length, with a row at least.")
    rows = zip(*columns.values(), strict=True)
    # A tensor of one column is a list of lists of one value.
    return [dict(zip(columns, map(_alone, row), strict=True)) for row in rows]


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def write_answer(_call: Call, version: ServedVersion, answers: Sequence[Answer], request_id: str) -> bytes:
    """The predictions as MLflow answers them, and whose they are beside them."""
    import orjson

    predictions = [prediction for prediction, _ in answers]
    whose = {"model": version.spec.name, "version": version.number, "alias": version.alias, "request_id": request_id}
    return orjson.dumps({"predictions": predictions, **whose})
