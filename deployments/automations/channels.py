"""Who is told: the items of EVERGREEN_NOTIFY as Prefect's notification blocks.

A URL is a secret, so it is kept where Prefect keeps secrets: in a block of Prefect's own types, which the server, where
actions run, knows without anything of ours. All of Prefect's blocks but two send through Apprise, whose errors name no
URL and become a failed action, and so do these. The two others do not serve: calls of `webhook` that overlap break each
other (they share a connection pool, and each closes it), and an error of `custom-webhook` puts the URL into the
server's log and is told to nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import UUID

from evergreen.errors import EvergreenError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

OURS = "evergreen-notify-"
_SAVED_AS = "slack-webhook"
"""Prefect's block for Slack takes any URL that Apprise knows, and keeps it as a secret."""
_NATIVE = ("hooks.slack.com", "hooks.slack-gov.com")
_BLOCK = re.compile(r"([a-z0-9-]+)/([a-z0-9-]+)")


def channels(notify: str, client: SyncPrefectClient) -> tuple[UUID, ...]:
    """The blocks to send to; URLs are saved as blocks of stable names.

    Raises:
        EvergreenError: an item is neither a URL nor a block that is there and can be notified.
    """
    items = [item.strip() for item in notify.split(",") if item.strip()]
    # All are looked at before any is saved.
    named = {item: _named(client, item, place) for place, item in enumerate(items, 1) if not _is_url(item, place)}
    return tuple(named.get(item) or _saved(client, item, place) for place, item in enumerate(items, 1))


def forget(client: SyncPrefectClient, kept: tuple[UUID, ...]) -> None:
    """Delete the blocks of URLs that are no longer told."""
    for document in client.read_block_documents_by_type(_SAVED_AS, include_secrets=False):
        if (document.name or "").startswith(OURS) and document.id not in kept:
            client.delete_block_document(document.id)


def _is_url(item: str, place: int) -> bool:
    """Whether it is a URL; what it is instead is not shown, as it may be a URL with a slip in it."""
    if _BLOCK.fullmatch(item):
        return False
    try:
        parts = urlsplit(item)
        fine = (
            parts.scheme in ("http", "https", "mailto", "mailtos")
            and bool(parts.hostname)
            and parts.port != 0
            and " " not in item
        )
    except ValueError:
        fine = False
    if not fine:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY: item {place} is neither a URL nor the type/name of a block.",
            "URLs begin with http, https, mailto or mailtos, and a comma within one is written %2C; a block is such as "
            "slack-webhook/ops.",
        )
    return True


def _named(client: SyncPrefectClient, item: str, place: int) -> UUID:
    from prefect.exceptions import ObjectNotFound

    kind, _, name = item.partition("/")
    known = _kinds()
    if kind not in known:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY: item {place}: Prefect has no notification block of type {kind!r}.",
            f"Types that the server can notify: {', '.join(known)}.",
        )
    try:
        document = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY: item {place}: no block {item!r} is saved in Prefect.",
            f"Save it in the Prefect UI under Blocks, or: prefect block create {kind}",
        ) from None
    return document.id


def _kinds() -> tuple[str, ...]:
    """The slugs of Prefect's own blocks that an automation can send to."""
    from prefect.blocks import notifications
    from prefect.blocks.abstract import NotificationBlock

    found = [
        kind.get_block_type_slug()
        for kind in vars(notifications).values()
        if isinstance(kind, type) and issubclass(kind, NotificationBlock) and "_block_type_name" in vars(kind)
    ]
    return tuple(sorted(found))


def _saved(client: SyncPrefectClient, url: str, place: int) -> UUID:
    from prefect.blocks.notifications import SlackWebhook

    name = f"{OURS}{place}"
    SlackWebhook.model_validate({"url": _for_apprise(url)}).save(name, overwrite=True)
    return client.read_block_document_by_name(name, _SAVED_AS, include_secrets=False).id


def _for_apprise(url: str) -> str:
    """A plain webhook in Apprise's words: JSON with `title`, `text`, which chat programs show, and `type`."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("http") or parts.hostname in _NATIVE:
        return url
    query = [(f"-{key}", value) for key, value in parse_qsl(parts.query, keep_blank_values=True)]
    shape = [(":message", "text"), (":version", ""), (":attachments", "")]
    scheme = parts.scheme.replace("http", "json")
    return urlunsplit((scheme, parts.netloc, parts.path, urlencode([*query, *shape]), ""))
