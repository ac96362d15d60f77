"""Reads compose.yaml as Docker Compose would: its services with variables filled in, and who waits for whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[3]
FOLDER = PROJECT / "deployments" / "production"
COMPOSE, EXAMPLE = FOLDER / "compose.yaml", FOLDER / "compose.env.example"
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:[-?])([^}]*))?\})")


@dataclass(frozen=True)
class Service:
    """What a container of it would be: its words, its environment, its health check and what it waits for."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    check: tuple[str, ...]
    needs: Mapping[str, str]
    volumes: Mapping[str, str]
    own: bool
    copies: int


def read(text: str | None = None) -> Any:
    """The file as it is parsed, with merged parts in place and variables as they are written."""
    return yaml.safe_load(COMPOSE.read_text() if text is None else text)


def fill(value: Any, variables: Mapping[str, str]) -> Any:
    """The same with variables replaced; an empty one that has to be set is a KeyError, as it ends Docker Compose."""
    if isinstance(value, dict):
        return {key: fill(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        dollar, name, sign, rest = found.groups()
        if dollar:
            return "$"
        if content := variables.get(name, ""):
            return content
        if sign == ":?":
            raise KeyError(name)
        return rest or "" if sign == ":-" else ""

    return _VARIABLE.sub(replace, value)


def services(variables: Mapping[str, str]) -> dict[str, Service]:
    """Every service by its name, each after those that it waits for."""
    document = fill(read(), variables)["services"]
    found: dict[str, Service] = {}
    while waiting := [name for name in document if name not in found]:
        name = next(each for each in waiting if set(document[each].get("depends_on", {})) <= set(found))
        found[name] = _service(name, document[name])
    return found


def _service(name: str, entry: Mapping[str, Any]) -> Service:
    return Service(
        name,
        tuple(entry.get("command", ())),
        entry.get("environment", {}),
        tuple(entry.get("healthcheck", {}).get("test", ())),
        {other: how["condition"] for other, how in entry.get("depends_on", {}).items()},
        {place.split(":")[1]: place.split(":")[0] for place in entry.get("volumes", ())},
        "env_file" in entry,
        entry["deploy"].get("replicas", 1),
    )


def asked_for(text: str) -> set[str]:
    """The variables in a text that have to be set."""
    return {name for _, name, sign, _ in _VARIABLE.findall(text) if sign == ":?"}


def example() -> dict[str, str]:
    """The variables of the example that are to be filled in, and those behind a comment sign with what they show."""
    return dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", EXAMPLE.read_text(), flags=re.MULTILINE))


def written_out(document: Mapping[str, Any]) -> Iterator[str]:
    """Where a password, a login or a key is written in the file instead of being asked for."""
    for name, entry in document["services"].items():
        for variable, value in entry.get("environment", {}).items():
            if re.search(r"PASSWORD|AUTH_STRING|SECRET|TOKEN|REDISCLI_AUTH", variable) and not _asked(value):
                yield f"{name}: {variable}"
            if re.search(r"://[^/$]*:[^$/]+@", str(value)):
                yield f"{name}: {variable}"
        for word in entry.get("command", ()):
            if re.search(r"(?i)(password|requirepass|secret)[ =]\s*[^\s$]|://[^/$]*:[^$/]+@", word):
                yield f"{name}: {word}"


def _asked(value: str) -> bool:
    return bool(_VARIABLE.fullmatch(value))
