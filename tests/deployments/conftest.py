"""A browser for the tests of pages."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: the system's, else Playwright's own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    system = next((path for name in names if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=system, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium here: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def opened(browser: Any) -> Callable[..., Visit]:
    """Opens an address, in a browser's fresh context."""
    return functools.partial(Visit, browser)


class Visit:
    """A page that was opened, and what it said and asked for on the way."""

    def __init__(self, browser: Any, url: str, **looks: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | looks)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.began = time.monotonic()
        self.page.goto(url)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait for a condition; Playwright's own way of doing so is what the page's policy forbids."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(20)

    def explore(self, plot: str) -> Any:
        """Press the button of a plot and wait until Vega has drawn it."""
        self.page.locator(f"[data-explore={plot}]").click()
        self.page.locator(f"#{plot} .live svg.marks").first.wait_for()
        return self.page.locator(f"#{plot}")

    def tab_to(self, selector: str, most: int = 60) -> int:
        """Press Tab until an element has the focus; how often that took."""
        for pressed in range(1, most + 1):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return pressed
        raise AssertionError(f"{selector} is not reached by {most} tabs")
