"""Edit the text of a YAML file; what an edit does not touch stays as a person wrote it, to the byte.

yaml-edit keeps the text as a tree and changes it in place. PyYAML says what a text means, as it does for Prefect.
Whoever edits compares what the outcome means with what it was to mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
import yaml_edit
from yaml_edit import Document, Node, YamlFile

Path = tuple[str | int, ...]
"""The way to a value: keys of mappings, places in lists."""

_WIDTH = 100
"""What fits into so many characters stays on one line."""


def load(text: str) -> Any:
    """What the text means, as Prefect reads it.

    Raises:
        ValueError: it is not YAML, or names a key twice; says where.
    """
    try:
        meaning = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{f'line {mark.line + 1}: ' if mark else ''}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    for fault in YamlFile.parse(text).validate():
        if fault.rule == "duplicate_keys" and fault.byte_range:
            number = text.encode().count(b"\n", 0, fault.byte_range[0])
            line = text.split("\n")[number].strip(" -")
            if not line.startswith("<<"):
                raise ValueError(f"line {number + 1}: this key is there twice: {line}")
    return meaning


def put(text: str, path: Path, value: Any) -> str:
    """Set the value at `path`; a key that is not there comes last in its mapping."""
    file = YamlFile.parse(text)
    _mapping(file, path[:-1]).set(path[-1], _laid_out(value))
    return str(file)


def append(text: str, path: Path, entry: Mapping[str, Any], *, apart: bool = False) -> str:
    """Put an entry at the end of the list at `path`, which may be absent or empty; `apart` leaves a line free."""
    file, value = YamlFile.parse(text), {key: _laid_out(part) for key, part in entry.items()}
    node = _node(file, path)
    entries = node.as_sequence() if node else None
    if not entries:
        _mapping(file, path[:-1]).set(path[-1], [value])
        return str(file)
    entries.append(value)
    text = str(file)
    last = entries.last()
    if not apart or last is None:
        return text
    written = text.encode()
    line = written.rfind(b"\n", 0, last.byte_range()[0]) + 1
    return (written[:line] + b"\n" + written[line:]).decode()


def remove(text: str, path: Path) -> str:
    """Take out an entry of a list; with the last one goes the list. Comments around it stay."""
    file = YamlFile.parse(text)
    node = _node(file, path[:-1])
    entries = node.as_sequence() if node else None
    if entries is not None and len(entries) > 1:
        del entries[int(path[-1])]
    else:
        _mapping(file, path[:-2]).remove(path[-2])
    return str(file)


def shared(text: str, path: Path) -> Any:
    """The value at `path` for another place: by alias where it has an anchor, otherwise as a copy."""
    node = _node(YamlFile.parse(text), path)
    if isinstance(node, Node):
        if alias := node.as_alias():
            return alias
        if anchor := re.search(rb"&(\S+)\s+$", text.encode()[: node.byte_range()[0]]):
            return yaml_edit.Alias(anchor[1].decode())
    value = yaml.safe_load(text)
    for key in path:
        value = value[key]
    return value


def _node(file: YamlFile, path: Path) -> Document | Node | None:
    node: Document | Node | None = file.ensure_document()
    for key in path:
        inner = None if node is None else node.as_sequence() if isinstance(key, int) else node.as_mapping()
        node = inner.get(key) if inner is not None else None  # type: ignore[arg-type]
    return node


def _mapping(file: YamlFile, path: Path) -> Document | yaml_edit.Mapping:
    node = _node(file, path)
    mapping = node.as_mapping() if isinstance(node, Node) else node
    if mapping is None:
        raise ValueError(f"there is no mapping at {'.'.join(map(str, path))}")
    return mapping


def _laid_out(value: Any) -> Any:
    """A value as it is to stand in the file: what is short on one line, a list of mappings on a line for each."""
    if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        return [_laid_out(part) for part in value]
    if not isinstance(value, list | Mapping):
        return value
    line = _on_one_line(value)
    if len(str(line)) <= _WIDTH:
        return line
    return (
        [*map(_laid_out, value)] if isinstance(value, list) else {key: _laid_out(part) for key, part in value.items()}
    )


def _on_one_line(value: Any) -> Any:
    if isinstance(value, Mapping):
        mapping = yaml_edit.Mapping(flow=True)
        for key, part in value.items():
            mapping.set(key, _on_one_line(part))
        return mapping
    if isinstance(value, list):
        sequence = yaml_edit.Sequence(flow=True)
        sequence.extend(map(_on_one_line, value))
        return sequence
    return value
