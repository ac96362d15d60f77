"""Edit the text of a YAML file; what an edit does not touch stays as a person wrote it, to the byte.

yaml-edit keeps the text as a tree and changes it in place. PyYAML says what a text means, as it does for Prefect.
Whoever edits compares what the outcome means with what it was to mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
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


class YamlText:
    """A text that is edited: parsed once, whatever the number of edits."""

    def __init__(self, text: str) -> None:
        self._file = YamlFile.parse(text)
        self._apart: tuple[Path, int] = ((), 0)
        """The list whose last entries are to stand apart from what is before them, and how many these are."""

    @property
    def text(self) -> str:
        """The text as it is now."""
        text = str(self._file)
        path, count = self._apart
        node = _node(self._file, path) if count else None
        entries = node.as_sequence() if node else None
        if not entries:
            return text
        written = text.encode()
        starts = [each.byte_range()[0] for each in list(entries)[-count:] if isinstance(each, Node)]
        lines = [0, *(written.rfind(b"\n", 0, start) + 1 for start in starts), len(written)]
        return b"\n".join(written[start:end] for start, end in pairwise(lines)).decode()

    def put(self, path: Path, value: Any) -> None:
        """Set the value at `path`; a key that is not there comes last in its mapping."""
        _mapping(self._file, path[:-1]).set(path[-1], _laid_out(value))

    def append(self, path: Path, entry: Mapping[str, Any], *, apart: bool = False) -> None:
        """Put an entry at the end of the list at `path`, which may be absent or empty; `apart` leaves a line free."""
        same = self._apart[0] == path
        # Entries that stand apart are counted from the end of one list; another list or another entry ends that.
        if same != apart:
            self._write_lines()
        value = {key: _laid_out(part) for key, part in entry.items()}
        node = _node(self._file, path)
        entries = node.as_sequence() if node else None
        if not entries:
            _mapping(self._file, path[:-1]).set(path[-1], [value])
            return
        entries.append(value)
        if apart:
            self._apart = path, self._apart[1] + 1

    def remove(self, path: Path) -> None:
        """Take out an entry of a list; with the last one goes the list. Comments around it stay."""
        if self._apart[0] == path[:-1]:
            self._write_lines()
        node = _node(self._file, path[:-1])
        entries = node.as_sequence() if node else None
        if entries is not None and len(entries) > 1:
            del entries[int(path[-1])]
        else:
            _mapping(self._file, path[:-2]).remove(path[-2])

    def shared(self, path: Path) -> Any:
        """The alias by which another place shares the value at `path`; None where it has no anchor."""
        node = _node(self._file, path)
        if not isinstance(node, Node):
            return None
        if alias := node.as_alias():
            return alias
        anchor = re.search(rb"&(\S+)\s+$", str(self._file).encode()[: node.byte_range()[0]])
        return yaml_edit.Alias(anchor[1].decode()) if anchor else None

    def _write_lines(self) -> None:
        """Put the free lines into the tree, because what comes next changes which entries are the last."""
        if self._apart[1]:
            self._file = YamlFile.parse(self.text)
        self._apart = (), 0


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
