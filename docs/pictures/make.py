"""The three pictures of README, from a real run: `make pictures`.

The demo runs in a folder of its own and leaves its stack up; four more weeks follow. Chromium then draws the demo's
timeline as the terminal showed it, and visits the model's page and, in Prefect's UI, the retrain that drift started.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from deployments import demo
from deployments.stack import stack
from deployments.stack.services import Ports, read_ports
from evergreen.settings import PROJECT, Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

HERE = Path(__file__).parent
COLUMNS = 100
SCALE = 2
"""Pixels a point: sharp where a screen has two."""
NAMES = ("page", "run", "timeline")
BYTES = 400_000
"""All of them together."""
TERMINAL = """<!doctype html><meta charset="utf-8"><body style="margin: 0"><pre style="display: inline-block; margin: 0;
padding: 14px 16px; color: #222; font: 13px/1.35 'DejaVu Sans Mono', Menlo, Consolas, monospace">{code}</pre>"""


def main() -> int:
    """Make the pictures; returns 0 if all are there and small enough."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = open_browser(playwright)
        except Error:
            print(
                "make pictures needs Chromium, which is not here: install your system's package of it.",
                file=sys.stderr,
            )
            return 2
        with tempfile.TemporaryDirectory() as home:
            settings = Settings(home=Path(home))
            try:
                timeline = _play_demo(settings)
                _play_on(settings)
                _take_pictures(browser, settings, timeline)
            finally:
                stack.down(settings)
        browser.close()
    return _report_sizes()


def open_browser(playwright: Playwright) -> Browser:
    """The system's Chromium, or Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    system = next((path for name in names if (path := shutil.which(name))), None)
    # Chromium refuses its sandbox to root, and the pages are our own.
    return playwright.chromium.launch(executable_path=system, args=["--no-sandbox"])


def _play_demo(settings: Settings) -> str:
    """Run the demo and leave its stack up; returns the timeline as the terminal shows it, with colours."""
    surroundings = {"EVERGREEN_DEMO_HOME": str(settings.root), "KEEP": "1", "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
    # What follows the timeline names folders of this machine.
    return _run("deployments.demo", **surroundings).split("\nMAE before and after")[0].strip("\n")


def _play_on(settings: Settings) -> None:
    """Four more weeks of that weather: a retrain after two of them, a monitor run after the others."""
    from evergreen.sources.simulator import simulate

    for day, command in ((24, "retrain"), (38, "monitor")):
        start = demo.CHANGE + timedelta(days=day)
        rows = simulate(start, 14, seed=demo.SEED, scenario="covariate", change=demo.CHANGE)
        rows.to_csv(settings.landing / demo.MODEL / f"later-{day}.csv", index=False)
        _run("deployments.cli", command, demo.MODEL, EVERGREEN_HOME=str(settings.root))


def _run(module: str, *words: str, **surroundings: str) -> str:
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, env=os.environ | surroundings, cwd=PROJECT, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def _take_pictures(browser: Browser, settings: Settings, timeline: str) -> None:
    ports = read_ports(settings)
    if ports is None:
        raise SystemExit("The demo left no stack behind.")
    page = open_page(browser, 900)
    page.set_content(_terminal_page(timeline))
    store("timeline", page.locator("pre").screenshot())
    store("page", _draw_model_page(browser, f"{ports.pages_ui}/{demo.MODEL}"))
    page = open_page(browser, 600)
    # Prefect's own switch for its theme.
    page.add_init_script("""localStorage.setItem("color-scheme", '"light"')""")
    page.goto(f"{ports.prefect_ui}/runs/flow-run/{_event_driven_run(ports)}")
    page.locator("canvas").first.wait_for()
    page.wait_for_load_state("networkidle")
    store("run", settled(page))


def _draw_model_page(browser: Browser, url: str) -> bytes:
    """The page down to the end of its first plot, wide enough for five cards in a row."""
    page = open_page(browser, 900, width=1240)
    page.goto(url)
    end = page.locator("details").first.bounding_box()
    if end is None:
        raise SystemExit("The page of the model shows no drift report.")
    page.set_viewport_size({"width": 1240, "height": int(end["y"])})
    return settled(page)


def open_page(browser: Browser, height: int, *, width: int = 960) -> Page:
    """A window of this size, as a light screen of two pixels a point shows it."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=SCALE, color_scheme="light", locale="en-GB"
    )
    # The pages' server draws a page when it is first asked for.
    context.set_default_timeout(120_000)
    return context.new_page()


def settled(page: Page) -> bytes:
    """A picture of the window once it no longer moves."""
    deadline = time.monotonic() + 30
    before, picture = b"", page.screenshot()
    while picture != before and time.monotonic() < deadline:
        page.wait_for_timeout(1000)
        before, picture = picture, page.screenshot()
    return picture


def _terminal_page(ansi: str) -> str:
    """The text of a terminal as HTML, by rich."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for line in ansi.splitlines():
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_html(code_format=TERMINAL, inline_styles=True)


def _event_driven_run(ports: Ports) -> str:
    """The id of the retrain that an automation started and that completed."""
    question = {
        "sort": "START_TIME_ASC",
        "flow_runs": {"tags": {"all_": ["retrain"]}, "state": {"type": {"any_": ["COMPLETED"]}}},
    }
    runs = httpx.post(f"{ports.api}/flow_runs/filter", json=question).raise_for_status().json()
    return next(str(run["id"]) for run in runs if (run["created_by"] or {}).get("type") == "AUTOMATION")


def store(name: str, picture: bytes) -> None:
    """Keep a picture with a palette of its own, which is a third of the size and looks the same."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        HERE / f"{name}.png", optimize=True
    )


def _report_sizes() -> int:
    sizes = {path.name: path.stat().st_size for path in (HERE / f"{name}.png" for name in NAMES)}
    for name, size in sizes.items():
        print(f"{name:<14}{size / 1000:6.0f} kB")
    print(f"{'together':<14}{sum(sizes.values()) / 1000:6.0f} kB of {BYTES / 1000:.0f}")
    return 0 if sum(sizes.values()) <= BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
