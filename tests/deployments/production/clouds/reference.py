"""The words of a command, held against the published reference of its tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

PLACE = Path(__file__).with_name("references")


def complaints(words: Sequence[str], file: str) -> list[str]:
    """What the reference does not know in a command, or misses in it."""
    commands = json.loads((PLACE / file).read_text())["commands"]
    plain = [word for word in words if not word.startswith("--")]
    name = next((" ".join(plain[:end]) for end in range(len(plain), 0, -1) if " ".join(plain[:end]) in commands), "")
    if not name:
        return [f"no such command: {' '.join(plain)}"]
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    known = commands[name]
    unknown = [f"{name} has no {flag}" for flag in flags if flag not in known["required"] + known["optional"]]
    return unknown + [f"{name} misses {flag}" for flag in known["required"] if flag not in flags]
