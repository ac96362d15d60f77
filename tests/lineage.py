"""OpenLineage events held to the published schemas, and to ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

PROJECT = Path(__file__).resolve().parents[1]
PUBLISHED = PROJECT / "tests" / "evergreen" / "runs" / "openlineage"
OURS = PROJECT / "docs" / "schemas"
CORE = "https://openlineage.io/spec/2-0-2/OpenLineage.json"

_SCHEMAS = [json.loads(file.read_text()) for folder in (PUBLISHED, OURS) for file in sorted(folder.glob("*.json"))]
_REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in _SCHEMAS
)


def require_valid(event: Mapping[str, Any]) -> None:
    """Hold an event to the schema that it names, and each of its facets to that of the facet."""
    assert event["schemaURL"] == f"{CORE}#/$defs/RunEvent"
    _check(event, event["schemaURL"])
    datetime.fromisoformat(event["eventTime"])
    UUID(event["run"]["runId"])
    for name, facet in _facets(event):
        # A facet whose version is not among the schemas is not found.
        _check(facet, facet["_schemaURL"])
        base, _, kind = facet["_schemaURL"].partition("#/$defs/")
        (schema,) = (each for each in _SCHEMAS if each["$id"] == base)
        assert name in schema["properties"], (name, kind)


def _check(instance: object, address: str) -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": address}
    Draft202012Validator(schema, registry=_REGISTRY, format_checker=FormatChecker()).validate(instance)


def _facets(event: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from event["run"]["facets"].items()
    yield from event["job"]["facets"].items()
    for dataset in (*event["inputs"], *event["outputs"]):
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from dataset.get(kind, {}).items()
