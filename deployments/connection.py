"""The connection to the Prefect server: what is wrong with it becomes one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from evergreen.errors import EvergreenError
from evergreen.naming import tag

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

T = TypeVar("T")
_PAGE_SIZE = 200


@contextmanager
def open_client(purpose: str) -> Iterator[SyncPrefectClient]:
    """Open a client of the Prefect server that PREFECT_API_URL names.

    Args:
        purpose: what needs the server, for the message, such as `Deployments`.

    Raises:
        EvergreenError: no server is set, or it does not answer, or it refuses access.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        raise EvergreenError(
            f"{purpose} need a Prefect server, and none is set.", "Run: evergreen up, or set PREFECT_API_URL."
        )
    try:
        with get_client(sync_client=True) as client:
            client.hello()
            yield client
    except httpx.TransportError as error:
        raise EvergreenError(
            f"The Prefect server at {url} does not answer ({type(error).__name__}).",
            "Start it with evergreen up, or set PREFECT_API_URL to another one.",
        ) from None
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        if code not in (401, 403):
            raise
        raise EvergreenError(
            f"The Prefect server at {url} refuses access ({code}).",
            "Set PREFECT_API_KEY or PREFECT_API_AUTH_STRING.",
        ) from None


def read_deployments(client: SyncPrefectClient, environment: str) -> list[dict[str, Any]]:
    """The deployments on the server that have the environment's tag, as JSON.

    Prefect's own type of a schedule lists every time zone of the machine anew: six seconds for 300 deployments.
    """
    return read_json_pages(client, "deployments", {"tags": {"all_": [tag(environment)]}})


def read_json_pages(
    client: SyncPrefectClient, kind: Literal["deployments", "flows"], chosen: Any
) -> list[dict[str, Any]]:
    """Everything of a kind that meets a filter of Prefect's API, as JSON."""

    def read(offset: int) -> list[dict[str, Any]]:
        body = {kind: chosen, "limit": _PAGE_SIZE, "offset": offset}
        route: Literal["/deployments/filter", "/flows/filter"]
        route = "/deployments/filter" if kind == "deployments" else "/flows/filter"
        page: list[dict[str, Any]] = client.request("POST", route, json=body).json()
        return page

    return read_pages(read)


def read_pages(read: Callable[[int], Sequence[T]]) -> list[T]:
    """Everything that a paged request returns; `read` gets the offset."""
    items: list[T] = []
    while page := read(len(items)):
        items += page
    return items
