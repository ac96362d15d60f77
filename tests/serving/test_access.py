"""Who may ask: a key of the file, not too often; the file never holds a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from evergreen.errors import EvergreenError
from serving.access import Access, add_key, is_loopback, read_access
from serving.faults import RequestError


def test_a_key_opens_and_another_does_not(tmp_path: Path) -> None:
    """In either header; the name comes back. A wrong, empty or missing key is 401."""
    file = tmp_path / "serving" / "keys.txt"
    key, other = add_key(file, "shop"), add_key(file, "office")
    access = read_access(file)
    assert access.admit({b"x-api-key": key.encode()}) == "shop"
    assert access.admit({b"authorization": f"Bearer {other}".encode()}) == "office"
    wrong: list[dict[bytes, bytes]] = [
        {},
        {b"x-api-key": b""},
        {b"x-api-key": key.encode() + b"x"},
        {b"authorization": f"Basic {key}".encode()},
    ]
    for headers in wrong:
        with pytest.raises(RequestError) as refused:
            access.admit(headers)
        assert refused.value.status == 401


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    """Names and hashes only, readable by its owner alone."""
    file = tmp_path / "keys.txt"
    key = add_key(file, "shop")
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(EvergreenError, match="already"):
        add_key(file, "shop")
    with pytest.raises(EvergreenError, match="cannot be"):
        add_key(file, "the shop")


def test_a_container_has_its_keys_in_a_variable(tmp_path: Path) -> None:
    """Lines of a file, or the same by commas; they count beside the file's, and a wrong one is named."""
    file, other = tmp_path / "keys.txt", tmp_path / "other.txt"
    keys = add_key(file, "shop"), add_key(other, "office"), add_key(other, "depot")
    given = other.read_text()
    for lines in (given, ",".join(given.splitlines())):
        access = read_access(file, lines)
        assert [access.admit({b"x-api-key": key.encode()}) for key in keys] == ["shop", "office", "depot"]
    with pytest.raises(EvergreenError, match="EVERGREEN_SERVING_KEYS, line 3"):
        read_access(file, f"{given}shop")
    with pytest.raises(EvergreenError, match="cannot be"):
        add_key(file, "shop,office")


def test_what_a_proxy_passes_on_needs_a_key(tmp_path: Path) -> None:
    """It comes from this machine, whoever asked the proxy; a platform that knows its clients says so."""
    for header in (b"x-forwarded-for", b"forwarded"):
        with pytest.raises(RequestError, match="through a proxy") as refused:
            read_access(tmp_path / "keys.txt").admit({header: b"for=192.0.2.1"})
        assert refused.value.status == 401
        assert read_access(tmp_path / "keys.txt", behind_platform=True).admit({header: b"for=192.0.2.1"}) == ""
    assert read_access(tmp_path / "keys.txt").admit({}) == ""


def test_a_rate_is_kept(tmp_path: Path) -> None:
    """Two seconds' requests at once, then as many as time gives back; other keys have their own."""
    file = tmp_path / "keys.txt"
    keys = [add_key(file, name) for name in ("slow", "free")]
    lines = file.read_text().splitlines()
    file.write_text(f"# clients\n{lines[0]} 5\n\n{lines[1]}\n")
    now = [100.0]
    access = read_access(file)
    access.clock = lambda: now[0]
    slow, free = ({b"x-api-key": key.encode()} for key in keys)
    for _ in range(10):
        access.admit(slow)
    with pytest.raises(RequestError) as refused:
        access.admit(slow)
    assert refused.value.status == 429
    for _ in range(50):
        access.admit(free)
    now[0] += 0.2
    assert access.admit(slow) == "slow"


@pytest.mark.parametrize("line", ["shop", "shop abc", "shop zz", f"shop {'0' * 64} many", f"shop {'0' * 64} 5 6"])
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    """A file that is half understood would let in or lock out the wrong ones."""
    file = tmp_path / "keys.txt"
    file.write_text(f"# clients\n{line}\n")
    with pytest.raises(EvergreenError, match="line 2"):
        read_access(file)


def test_without_keys_everybody_may_ask(tmp_path: Path) -> None:
    """Which is for this machine alone: the command refuses another host then."""
    assert read_access(tmp_path / "none").admit({}) == ""
    assert Access().admit({b"x-api-key": b"any"}) == ""
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "host", ""))  # noqa: S104
