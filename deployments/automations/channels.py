"""Who gets the alerts: the items of EVERGREEN_NOTIFY as Prefect's notification blocks.

A URL is a secret, so it is stored where Prefect stores secrets: in a block of one of Prefect's own types. The server,
where actions run, knows these types without any code of ours. All of Prefect's notification blocks but two send through
Apprise, whose errors name no URL and become a failed action. The two others cannot be used: overlapping calls of
`webhook` break each other, because they share a connection pool that each of them closes; and an error of
`custom-webhook` writes the URL into the server's log and alerts nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import UUID

from evergreen import naming
from evergreen.errors import EvergreenError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_SAVED_AS = "slack-webhook"
"""The type of the blocks for URLs: Prefect's block for Slack takes any URL that Apprise knows, as a secret."""
_NATIVE = ("hooks.slack.com", "hooks.slack-gov.com")
_BLOCK = re.compile(r"([a-z0-9-]+)/([a-z0-9-]+)")


def save_channels(environment: str, notify: str, client: SyncPrefectClient) -> tuple[UUID, ...]:
    """Save the URLs as blocks with stable names; returns the blocks of all items, in their order.

    Raises:
        EvergreenError: an item is neither a URL nor a block that exists and can be notified.
    """
    items = [item.strip() for item in notify.split(",") if item.strip()]
    # Every item is checked before the first is saved.
    blocks = {item: _find_block(client, item, place) for place, item in enumerate(items, 1) if not _is_url(item, place)}
    return tuple(blocks.get(item) or _save_url(environment, client, item, place) for place, item in enumerate(items, 1))


def delete_other_channels(environment: str, client: SyncPrefectClient, kept: tuple[UUID, ...]) -> None:
    """Delete the environment's saved blocks of URLs except these."""
    for document in client.read_block_documents_by_type(_SAVED_AS, include_secrets=False):
        if naming.is_notify_block(environment, document.name or "") and document.id not in kept:
            client.delete_block_document(document.id)


def _is_url(item: str, place: int) -> bool:
    """Whether an item is a URL and not the name of a block.

    Raises:
        EvergreenError: it is neither. The message does not show the item, which may be a URL with a typing error.
    """
    if _BLOCK.fullmatch(item):
        return False
    try:
        parts = urlsplit(item)
        valid = (
            parts.scheme in ("http", "https", "mailto", "mailtos")
            and bool(parts.hostname)
            and parts.port != 0
            and " " not in item
        )
    except ValueError:
        valid = False
    if not valid:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY: item {place} is neither a URL nor the type/name of a block.",
            "A URL begins with http, https, mailto or mailtos, and a comma within it is written %2C. A block is named "
            "like slack-webhook/ops.",
        )
    return True


def _find_block(client: SyncPrefectClient, item: str, place: int) -> UUID:
    from prefect.exceptions import ObjectNotFound

    kind, _, name = item.partition("/")
    types = _block_types()
    if kind not in types:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY: item {place}: Prefect has no notification block of type {kind!r}.",
            f"Choose one of the types that the server can notify: {', '.join(types)}.",
        )
    try:
        document = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY: item {place}: Prefect has no block {item!r}.",
            f"Save it in the Prefect UI under Blocks, or run: prefect block create {kind}",
        ) from None
    return document.id


def _block_types() -> tuple[str, ...]:
    """The slugs of Prefect's own block types that an automation can send to."""
    from prefect.blocks import notifications
    from prefect.blocks.abstract import NotificationBlock

    slugs = [
        kind.get_block_type_slug()
        for kind in vars(notifications).values()
        if isinstance(kind, type) and issubclass(kind, NotificationBlock) and "_block_type_name" in vars(kind)
    ]
    return tuple(sorted(slugs))


def _save_url(environment: str, client: SyncPrefectClient, url: str, place: int) -> UUID:
    from prefect.blocks.notifications import SlackWebhook

    name = naming.notify_block(environment, place)
    SlackWebhook.model_validate({"url": _to_apprise(url)}).save(name, overwrite=True)
    return client.read_block_document_by_name(name, _SAVED_AS, include_secrets=False).id


def _to_apprise(url: str) -> str:
    """The URL for Apprise. A plain webhook gets JSON with `title`, `type`, and `text`, which chat programs show."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("http") or parts.hostname in _NATIVE:
        return url
    query = [(f"-{key}", value) for key, value in parse_qsl(parts.query, keep_blank_values=True)]
    shape = [(":message", "text"), (":version", ""), (":attachments", "")]
    scheme = parts.scheme.replace("http", "json")
    return urlunsplit((scheme, parts.netloc, parts.path, urlencode([*query, *shape]), ""))
