"""Change a YAML file where it has to change, and leave every other byte of it as a person wrote it.

YAML libraries write a whole file anew: alignment and line breaks are lost on the way, now and then a comment, and with
a comment in an odd place the outcome is not even YAML. So the parser only says where things stand, and the text is cut
and pasted there. Whoever edits compares what the outcome means with what it was to mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import yaml

Path = tuple[str | int, ...]
"""The way to a value: keys of mappings, places in lists."""

_PLAIN = re.compile(r"[A-Za-z][\w./-]*([ ;,]+[\w./-]+)*")


@dataclass(frozen=True, slots=True)
class Raw:
    """Text that is YAML already, such as an alias."""

    text: str


@dataclass(slots=True)
class _Part:
    """A value and where it stands in the text."""

    start: int
    end: int
    column: int
    kind: str
    flow: bool = False
    anchor: str | None = None
    children: list[Self] = field(default_factory=list)
    value: str = ""

    def at(self, key: str | int) -> Self | None:
        """The value of a key, or at a place."""
        if isinstance(key, int):
            return self.children[key]
        pairs = zip(self.children[::2], self.children[1::2], strict=True)
        return next((value for name, value in pairs if name.value == key), None) if self.kind == "mapping" else None


def load(text: str) -> Any:
    """What the text means, as Prefect reads it.

    Raises:
        ValueError: it is not YAML, or names a key twice; says where.
    """
    _refuse_twins(_parse(text), text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _fault(error) from None


def put(text: str, path: Path, value: Any) -> str:
    """Set the value at `path`; a key that is not there comes last in its mapping."""
    found = _find(text, path)
    if found is not None and not found.flow and found.children:
        # It begins on a line of its own: the new one stands behind the key, and those lines go.
        colon, first = text.index(":", _key_end(text, path)), text.rfind("\n", 0, found.children[0].start) + 1
        return f"{text[: colon + 1]} {flow(value)}{text[colon + 1 : first]}{text[_line_after(text, found.end) :]}"
    if found is not None:
        return text[: found.start] + flow(value) + text[found.end :]
    parent, line = _find(text, path[:-1]), f"{path[-1]}: {flow(value)}"
    if parent is None or parent.flow:
        place = parent.end - 1 if parent else len(text)
        return text[:place] + (f", {line}" if parent else line) + text[place:]
    place = _line_after(text, parent.end)
    return _insert(text, place, _indented([line], _column(text, parent)))


def append(text: str, path: Path, entry: Mapping[str, Any], *, apart: bool = False) -> str:
    """Put an entry at the end of the list at `path`, which may be absent or empty; `apart` leaves a line free."""
    found = _find(text, path)
    if found is not None and found.flow and found.children:
        return f"{text[: found.end - 1]}, {flow(entry)}{text[found.end - 1 :]}"
    if found is not None and found.children:
        lines = _indented(_item(entry, _offset(text)), _column(text, found))
        return _insert(text, _line_after(text, found.end), (["", *lines] if apart else lines))
    parent = _find(text, path[:-1])
    if parent is not None and parent.flow:
        return put(text, path, [entry])
    if found is None:
        column = _column(text, parent) if parent and parent.children else 0
        lines = _indented([f"{path[-1]}:", *_indented(_item(entry, _offset(text)), _offset(text))], column)
        return _insert(text, _line_after(text, parent.end if parent else len(text)), lines)
    line = text.rfind("\n", 0, found.start) + 1
    column = len(text[line:]) - len(text[line:].lstrip(" ")) + _offset(text)
    block = "\n".join(_indented(_item(entry, _offset(text)), column))
    return f"{text[: found.start].rstrip(' ')}\n{block}{text[found.end :]}"


def remove(text: str, path: Path) -> str:
    """Take out an entry of a list; with the last one goes the list. Comments around it stay."""
    parent = _find(text, path[:-1])
    found = _find(text, path)
    if parent is None or found is None:
        return text
    if parent.kind == "sequence" and len(parent.children) == 1:
        return remove(text, path[:-1])
    if parent.flow:
        kept = yaml.safe_load(text[parent.start : parent.end])
        del kept[path[-1]]
        return text[: parent.start] + flow(kept) + text[parent.end :]
    column = _column(text, parent)
    begins = re.compile(rf"(?m)^ {{{column}}}(?=[^ #\n])")
    starts = [match.start() for match in begins.finditer(text, 0, found.start + 1)]
    return text[: starts[-1]] + text[_line_after(text, found.end) :]


def shared(text: str, path: Path) -> Any:
    """The value at `path` for another place: by alias where it has an anchor, otherwise as a copy."""
    found = _find(text, path)
    if found is not None and (found.kind == "alias" or found.anchor):
        return Raw(f"*{found.anchor}")
    value = yaml.safe_load(text)
    for key in path:
        value = value[key]
    return value


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(key)}: {flow(part)}' for key, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value if ", " not in value else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _item(entry: Mapping[str, Any], offset: int) -> list[str]:
    """An entry of a list on lines of its own; what is short stays on one line."""
    lines = [line for key, value in entry.items() for line in _pair(key, value, offset)]
    return [f"- {lines[0]}", *(f"  {line}" for line in lines[1:])]


def _pair(key: str, value: Any, offset: int) -> list[str]:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        nested = [line for one in value for line in (_item(one, offset) if len(one) > 4 else [f"- {flow(one)}"])]
        return [f"{key}:", *_indented(nested, offset)]
    if isinstance(value, Mapping) and len(value) > 2:
        return [f"{key}:", *(f"  {name}: {flow(part)}" for name, part in value.items())]
    return [f"{key}: {flow(value)}"]


def _indented(lines: list[str], column: int) -> list[str]:
    return [f"{' ' * column}{line}" for line in lines]


def _insert(text: str, place: int, lines: list[str]) -> str:
    before = text[:place] if place == 0 or text[place - 1] == "\n" else f"{text[:place]}\n"
    return before + "".join(f"{line}\n" for line in lines) + text[place:]


def _line_after(text: str, end: int) -> int:
    """Where the line begins that follows the one on which something ends."""
    if end and text[end - 1] == "\n":
        return end
    found = text.find("\n", end)
    return len(text) if found < 0 else found + 1


def _column(text: str, part: _Part) -> int:
    """The column of a block's own keys or dashes."""
    if part.kind == "mapping":
        return part.children[0].column
    if part.anchor is None:
        return part.column
    line = text.rfind("\n", 0, part.children[0].start) + 1
    return len(text[line:]) - len(text[line:].lstrip(" "))


def _offset(text: str) -> int:
    """How far this file moves the dashes of a list to the right of its key."""
    found = re.search(r"(?m)^( *)- ", text)
    return len(found[1]) if found and len(found[1]) <= 4 else 2


def _find(text: str, path: Path) -> _Part | None:
    found: _Part | None = _parse(text)
    for key in path:
        found = found.at(key) if found else None
    return found


def _key_end(text: str, path: Path) -> int:
    """Where the key ends that stands before a value."""
    parent = _find(text, path[:-1])
    keys = parent.children[::2] if parent else []
    return next((key.end for key in keys if key.value == path[-1]), 0)


def _parse(text: str) -> _Part | None:
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    try:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                return _part(next(events), events)
    except yaml.YAMLError as error:
        raise _fault(error) from None
    return None


def _fault(error: yaml.YAMLError) -> ValueError:
    if not isinstance(error, yaml.MarkedYAMLError):
        return ValueError(" ".join(str(error).split()))
    mark = error.problem_mark or error.context_mark
    return ValueError(f"{f'line {mark.line + 1}: ' if mark else ''}{error.problem or error.context}")


def _part(event: Any, events: Iterator[Any]) -> _Part:
    start = event.start_mark
    part = _Part(start.index, event.end_mark.index, start.column, "alias", anchor=event.anchor)
    if isinstance(event, yaml.ScalarEvent):
        part.kind, part.value = "scalar", event.value
    elif isinstance(event, yaml.CollectionStartEvent):
        part.kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
        part.flow = bool(event.flow_style)
        for inner in events:
            if isinstance(inner, yaml.CollectionEndEvent):
                mark: Any = inner.end_mark
                part.end = mark.index if part.flow or not part.children else part.children[-1].end
                break
            part.children.append(_part(inner, events))
    return part


def _refuse_twins(part: _Part | None, text: str) -> None:
    if part is None:
        return
    names = [name.value for name in part.children[::2]] if part.kind == "mapping" else []
    for index, name in enumerate(names):
        if name in names[:index] and name != "<<":
            line = text.count("\n", 0, part.children[2 * index].start) + 1
            raise ValueError(f"line {line}: the key {name!r} is there twice")
    for child in part.children:
        _refuse_twins(child, text)
