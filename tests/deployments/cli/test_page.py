"""The page of a model in a browser and on its server: a thousand windows, and a category that looks like a script."""

from __future__ import annotations

import json
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import models
from deployments.cli.main import app
from deployments.stack.page_server import PageCache, Server
from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.observations import Observations
from evergreen.data.windows import training_window
from evergreen.decision import Decision
from evergreen.details.watch import PerformanceDetail, RuleFigure
from evergreen.drift.check import check_drift, drift_question
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.detail_json import detail_to_json
from evergreen.ledger.promotions import Move, Promotions
from evergreen.pages.links import PageLinks
from evergreen.performance.report import no_champion
from evergreen.registry.client import Registry
from evergreen.registry.lineage import lineage
from evergreen.registry.version import CHAMPION
from evergreen.runs.results import describe_drift
from evergreen.settings import PROJECT, Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.kept_files import KeptFiles
from evergreen.training.candidate import build_candidate
from evergreen.training.evaluate import evaluate_candidate
from tests.details import detail_of

SCRIPT = "<script>alert(1)</script>"
TOY = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
MODEL = TOY.replace('(str, pa.Check.isin(["a", "b"]))', "(str)")
WINDOWS = 1_000
START = datetime(2024, 1, 1, 6, tzinfo=UTC)
SHOWN = """addEventListener('load', () => requestAnimationFrame(() => requestAnimationFrame(() => {
    window.shown = performance.now();
})));"""
TIMES = """() => {
    const [painted] = performance.getEntriesByName('first-contentful-paint');
    const { loadEventEnd } = performance.getEntriesByType('navigation')[0];
    return [painted.startTime, loadEventEnd, window.shown];
}"""
LAST = START + timedelta(days=WINDOWS - 1)


def rows(count: int, start: int, shift: float = 0.0) -> pd.DataFrame:
    """Hourly rows with a number and three kinds, one of which looks like a script; seeded."""
    random = np.random.default_rng([7, start])
    x = random.normal(size=count) + shift
    frame = pd.DataFrame({"id": range(start, start + count), "x": x, "y": 3 * x + random.normal(size=count)})
    at = pd.date_range("2024-01-01", periods=count, freq="h") + pd.Timedelta(hours=start)
    return frame.assign(at=at, kind=random.choice(["a", "b", SCRIPT], count))


def land(spec: ModelSpec, settings: Settings, frame: pd.DataFrame, batch: str) -> Observations:
    """Land rows as a batch."""
    observations = Observations(settings.lake_uri, spec)
    checked = check_batch(frame, spec, schema_of(spec), now=LAST)
    assert not checked.problem
    observations.land(checked.rows, batch, batch, now=LAST)
    return observations


def champion(spec: ModelSpec, settings: Settings) -> None:
    """A real first champion, with its gates, its files and its promotion."""
    observations, registry = land(spec, settings, rows(600, 0), "first"), Registry(settings)
    snapshot = observations.snapshot()
    facts = {"reason": "first", "spec_hash": "spec", "params": None, "seed": spec.seed, "flow_run": ""}
    tags = lineage(snapshot, decision="d1", compared_with=None, **facts)  # type: ignore[arg-type]
    window = training_window(spec, snapshot)
    made = build_candidate(
        Observations(settings.lake_uri, spec), registry, window, decision="d1", params=None, tags=tags
    )
    version = registry.register(spec.name, made)
    judgement = evaluate_candidate(Observations(settings.lake_uri, spec), registry, version, None, window)
    registry.conclude(version, judgement.verdict, "# A card\n\n<b>bold</b>", {"judgement": judgement.to_text()})
    registry.set_alias(spec.name, CHAMPION, version.number)
    for number, (action, before, after) in enumerate((("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1))):
        at = START + timedelta(days=200 * number)
        for phase in ("intent", "done"):
            move = Move(f"m{number}", at, action, phase, before, after, f"{SCRIPT} why {number}", "", "person")  # type: ignore[arg-type]
            Promotions(settings.lake_uri, spec.name).write(move)


def newest_report(spec: ModelSpec, settings: Settings) -> None:
    """A real report on shifted rows, with Evidently's page."""
    snapshot = land(spec, settings, rows(300, 600, shift=2.0), "later").snapshot()
    registry, ledger = Registry(settings), Decisions(settings.lake_uri, spec.name)
    version = registry.champion(spec.name)
    assert version is not None
    asked, _ = drift_question(spec, version, snapshot, LAST)
    report = check_drift(
        Observations(settings.lake_uri, spec),
        registry,
        version,
        snapshot,
        reports=KeptFiles(settings.report_place),
        now=LAST,
    )
    ledger.record_scores(asked, LAST, version.number, report.columns)
    told = describe_drift(report)
    detail = detail_of("drift", share=told.share, columns=told.columns, report=told.report)
    outcome, digest = str(report.verdict), snapshot.digest
    ledger.record(Decision(asked, "drift", LAST, outcome, 1, snapshot.version, digest, report.reason, detail))


def history(spec: ModelSpec, settings: Settings) -> None:
    """The windows before the newest, and a performance report of each, in one commit a table."""
    ledger = Decisions(settings.lake_uri, spec.name)
    days = [START + timedelta(days=day) for day in range(WINDOWS - 1)]
    wave = [0.2 + 0.12 * math.sin(day / 40) for day in range(WINDOWS - 1)]
    decisions, scores = [], []
    for day, (at, level) in enumerate(zip(days, wave, strict=True)):
        share, name = round(level, 1), f"{day:016x}"
        verdict = "FAIL" if share >= spec.drift.share else "PASS"
        told = detail_of("drift", share=share, columns=())
        decisions.append((name, "drift", at, verdict, f"{share:.0%} drifted", told))
        rule = RuleFigure("the last known label", 0.8, -0.2 - level, (-0.4, -0.1), 0.97, "Nothing is decided.", (3, 4))
        measured = PerformanceDetail("mae", 1 + level, (0.9 + level, 1.2 + level), 0.9, 168, rules=(rule,))
        decisions.append((name, "performance", at, "PASS", "as ever", measured))
        if day % 25 == 0:
            decisions.append(
                (f"r{name}", "retrain", at, "rejected", "not better", detail_of("retrain", version=day // 25 + 2))
            )
        parts = (("x", 1.0), ("kind", 0.4), ("prediction", 0.8))
        scores += [(name, at, column, level * part) for column, part in parts]
    columns = ["id", "kind", "at", "outcome", "reason", "detail"]
    frame = pd.DataFrame(decisions, columns=columns)
    frame["detail"] = [json.dumps(detail_to_json(detail)) for detail in frame["detail"]]
    frame = frame.assign(champion=1, snapshot=1, digest="", flow_run="")
    ledger.table.append(frame, "history")
    found = pd.DataFrame(scores, columns=["decision_id", "at", "column", "score"])
    found = found.assign(champion=1, verdict="PASS", threshold=0.25, method="psi", missing=0.0, unseen=0.0, weight=0.3)
    kinds = found["column"].map({"x": "numeric", "kind": "categorical", "prediction": "numeric"})
    ledger.scores.append(found.assign(kind=kinds, reason=""), "history")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with one model that has lived for a thousand windows, and one that has no champion yet."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "models").mkdir()
    for name in ("toy", "bare"):
        (folder / "models" / f"{name}.py").write_text(MODEL.replace('"toy"', f'"{name}"'))
    (folder / "models" / "broken.py").write_text("MODEL = 1 +")
    found = Settings(home=folder / "home", models=folder / "models")
    spec = models.load("toy", found.models).spec
    history(spec, found)
    champion(spec, found)
    newest_report(spec, found)
    return found


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Server]:
    """The pages on a free port."""
    with Server(PageCache(settings, PageLinks("http://127.0.0.1:1", "http://127.0.0.1:2")), 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_a_thousand_windows_open_in_under_a_second(opened: Callable[..., Any], server: Server) -> None:
    """When the page is loaded, text, tables and plots are shown, and nothing of Vega was read.

    Its own work is bounded: the wall clock belongs to whatever else runs here, and is printed.
    """
    work, wall = [], []
    for _ in range(3):
        with opened("about:blank") as visit:
            session = visit.context.new_cdp_session(visit.page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            visit.page.add_init_script(SHOWN)
            visit.page.goto(f"{server.url}/toy")
            visit.until("'shown' in window && performance.getEntriesByName('first-contentful-paint').length > 0")
            told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
            work.append(told["TaskDuration"])
            wall.append(visit.page.evaluate(TIMES))
            read = visit.page.evaluate("[typeof vegaEmbed, typeof vega, document.scripts['packed-vega'].type]")
            assert read == ["undefined", "undefined", "application/gzip"]
            for plot in ("drift-plot", "performance-plot", "spread-1"):
                line = visit.page.locator(f"#{plot} .still:visible .mark-line path").first.bounding_box()
                assert line["width"] > 150
    ends = zip(("first paint", "load event", "all painted"), zip(*wall, strict=True), strict=True)
    print(*(f"{name} {min(each):.0f} ms," for name, each in ends), f"{min(work):.2f} s of work")
    assert min(work) < 0.7
    assert len(asked(server, "/toy")[1]) < 3_000_000


def test_plots_show_threshold_and_marks_without_a_script(opened: Callable[..., Any], server: Server) -> None:
    """The threshold's line and its words, a mark for each retrain, promotion and rollback, with scripts turned off."""
    with opened(f"{server.url}/toy", java_script_enabled=False) as visit:
        plot = visit.page.locator("#drift-plot .still:visible")
        assert plot.count() == 1
        assert plot.locator("line[stroke='var(--threshold)']").count() == 2
        words = plot.text_content()
        assert "fails from 30%" in words
        assert all(word in words for word in ("promoted", "rolled back", "retrained", "columns drifted", "2024"))
        happened = {"promoted": 2, "rolled-back": 1, "retrained": 40}
        marks = {name: plot.locator(f".lanes_marks path[stroke='var(--{name})']") for name in happened}
        assert {name: found.count() for name, found in marks.items()} == happened
        assert len({found.first.get_attribute("d") for found in marks.values()}) == 3
        assert "1,000 drift reports" in visit.page.locator("#drift-plot-summary").inner_text()
        assert visit.page.locator("#performance-plot .still:visible path[fill='var(--band)']").count() == 1
        assert "at promotion" in visit.page.locator("#performance-plot .still:visible").text_content()
        assert visit.page.locator("[data-explore]:visible, [data-ranges]:visible").count() == 0
        assert visit.said == []
        assert visit.asked == [f"{server.url}/toy"]


def test_a_plot_is_explored_with_vega_and_left_again(opened: Callable[..., Any], server: Server) -> None:
    """The same points, drawn in the place of the picture by a button; on paper the picture; no error, no request."""
    with opened(f"{server.url}/toy") as visit:
        plot = visit.explore("drift-plot")
        assert plot.locator(".still:visible").count() == 0
        assert plot.locator(".live line[stroke='var(--threshold)']").count() == 2
        happened = {"promoted": 2, "rolled-back": 1, "retrained": 40}
        marks = {name: plot.locator(f".live .lanes_marks path[stroke='var(--{name})']") for name in happened}
        assert {name: found.count() for name, found in marks.items()} == happened
        # Every report answers to the pointer, also without a mark: by its share, and by its worst column.
        assert plot.locator(".live path[opacity='0']").count() == 2 * WINDOWS
        plot.locator(".live path[opacity='0']").nth(WINDOWS // 2).hover(force=True)
        visit.page.locator("#vg-tooltip-element.visible", has_text="columns drifted").wait_for()
        visit.page.emulate_media(media="print")
        assert plot.locator(".still:visible").count() == 1
        assert plot.locator(".live").is_hidden()
        visit.page.emulate_media(media="screen")
        button = visit.page.locator("[data-explore=drift-plot]")
        assert button.get_attribute("aria-pressed") == "true"
        button.click()
        assert plot.locator(".still:visible").count() == 1
        assert plot.locator(".live").count() == 0
        # A press on a picture does the same.
        visit.page.locator("#performance-plot").click()
        visit.page.locator("#performance-plot .live svg.marks").wait_for()
        assert visit.said == []
        assert visit.asked == [f"{server.url}/toy"]


def test_text_from_data_stays_text(opened: Callable[..., Any], server: Server) -> None:
    """A category named like a script is shown, in the table and beside its bar, and never run; so are reasons."""
    with opened(f"{server.url}/toy") as visit:
        kind = visit.page.locator(".multiple", has=visit.page.locator("h4", has_text="kind"))
        assert "<script>alert" in kind.locator(".still:visible").text_content()
        plot = visit.explore(kind.locator(".plot").get_attribute("id"))
        assert "<script>alert" in plot.locator(".live").text_content()
        kind.locator("summary").click()
        assert kind.locator("th", has_text=SCRIPT).count() == 1
        assert f"{SCRIPT} why 2" in visit.page.locator("#now").inner_text()
        # The page's own script and Vega.
        assert visit.page.locator("script:not([type])").count() == 2
        visit.page.locator(".card summary").click()
        assert "<b>bold</b>" in visit.page.locator(".card .prose").inner_text()
        assert visit.said == []


def test_everything_is_reached_by_keyboard(opened: Callable[..., Any], server: Server) -> None:
    """The skip link comes first; a range is chosen, a table scrolled and the ledger filtered without a mouse."""
    with opened(f"{server.url}/toy", viewport={"width": 390, "height": 844}) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        visit.tab_to("button[data-days='90']")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
        page.locator("#performance-plot .live svg.marks").wait_for()
        page.locator("#drift-plot .live svg.marks").wait_for()
        told = page.locator("#drift-plot .live .role-axis-label text[text-anchor='middle']").all_text_contents()
        assert told
        ticks = [pd.to_datetime(text, format="%d %b %Y" if text[0].isdigit() else "%b %Y", utc=True) for text in told]
        assert LAST - timedelta(days=91) <= min(ticks) <= max(ticks) <= LAST + timedelta(days=1)
        visit.tab_to("[data-explore='drift-plot']")
        page.keyboard.press("Enter")
        assert page.locator("#drift-plot .still:visible").count() == 1
        page.keyboard.press("Enter")
        page.locator("#drift-plot .live svg.marks").wait_for()
        visit.tab_to("[aria-labelledby='columns-caption']")
        page.keyboard.press("ArrowRight")
        visit.until("document.activeElement.scrollLeft > 0")
        visit.tab_to("#kind")
        page.keyboard.type("retrain")
        visit.until("document.querySelectorAll('#entries tbody tr[hidden]').length > 0")
        shown = "[...document.querySelectorAll('#entries tbody tr:not([hidden])')].map(row => row.dataset.kind)"
        assert set(page.evaluate(shown)) == {"retrain"}


def test_every_region_and_plot_has_a_name(opened: Callable[..., Any], server: Server) -> None:
    """What a screen reader is told: one main heading, named regions and plots, tables with captions and scopes."""
    with opened(f"{server.url}/toy") as visit:
        unnamed = """() => [...document.querySelectorAll('section, [role=region], [role=img], [role=group], select')]
            .filter(one => !(one.getAttribute('aria-label') || one.closest('label')
                || document.getElementById(one.getAttribute('aria-labelledby'))?.textContent.trim()))
            .map(one => one.outerHTML.slice(0, 80))"""
        assert visit.page.evaluate(unnamed) == []
        assert visit.page.locator("h1").count() == 1
        assert visit.page.locator("table").count() == visit.page.locator("caption").count()
        assert visit.page.locator("th:not([scope])").count() == 0
        assert visit.page.locator("#rules-data tbody th").all_inner_texts() == ["the last known label"]
        twice = "() => { const all = [...document.querySelectorAll('[id]')].map(one => one.id);"
        assert visit.page.evaluate(twice + " return all.filter((id, place) => all.indexOf(id) !== place); }") == []


def test_dark_and_narrow(opened: Callable[..., Any], server: Server) -> None:
    """In the dark the page and its plots are dark, also after a change; on a phone nothing is wider than the screen."""
    with opened(f"{server.url}/toy", color_scheme="dark", viewport={"width": 390, "height": 844}) as visit:
        visit.explore("performance-plot")
        still = "getComputedStyle(document.querySelector('#drift-plot .still .role-axis-label text')).fill"
        live = "getComputedStyle(document.querySelector('#performance-plot .live .role-axis-label text')).fill"
        muted = "rgb(163, 174, 188)"
        assert visit.page.evaluate(f"[{still}, {live}]") == [muted, muted]
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 28)"
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        visit.page.emulate_media(color_scheme="light")
        visit.until(f"{still} !== '{muted}' && {live} !== '{muted}'")
        assert visit.said == []


def test_a_model_without_a_champion_says_what_is_missing(opened: Callable[..., Any], server: Server) -> None:
    """No empty plot: each part names what is not there and the command that brings it."""
    with opened(f"{server.url}/bare") as visit:
        text = visit.page.locator("main").inner_text()
        assert "There is no champion yet." in text
        assert "evergreen retrain bare" in text
        assert visit.page.locator(".plot").count() == 0
        assert visit.said == []


def test_the_file_is_whole_by_itself(
    opened: Callable[..., Any], settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evergreen page` writes one file that opens offline, and links to Evidently's report beside it."""
    monkeypatch.setenv("EVERGREEN_HOME", str(settings.root))
    monkeypatch.setenv("EVERGREEN_MODELS", str(settings.models))
    done = CliRunner().invoke(app, ["page", "toy", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["model"], told["windows"], told["versions"]) == ("toy", WINDOWS, 1)
    place = settings.root / "pages" / "toy.html"
    assert told["path"] == str(place)
    with opened(place.as_uri(), offline=True) as visit:
        visit.explore("drift-plot")
        assert visit.asked == [place.as_uri()]
        assert visit.said == []
        target = visit.page.locator("a", has_text="Evidently's report").get_attribute("href")
    assert (place.parent / target).resolve().is_file()
    assert f'"{PROJECT}' not in place.read_text()


def asked(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    """Status, body and headers of an answer."""
    request = urllib.request.Request(f"{server.url}{path}", method=method, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def test_the_server_answers_only_what_it_is_for(server: Server) -> None:
    """Pages and the reports that decisions name; another's name, another method and any other path are refused."""
    status, body, headers = asked(server, "/")
    assert status == 200
    assert all(f'href="/{name}"' in body for name in ("toy", "bare", "broken"))
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert asked(server, "/toy", "HEAD")[:2] == (200, "")
    assert asked(server, "/", Host="evil.example")[0] == 421
    assert asked(server, "/", "POST")[0] == 501
    for path in ("/nothing", "/../models/toy.py", "/report/toy/00", "/report/toy/../../models", "/toy/x", "/%2e%2e/x"):
        assert asked(server, path)[0] == 404, path
    status, body, _ = asked(server, "/broken")
    assert status == 503
    assert "broken.py, line 1" in body
    link = next(part for part in asked(server, "/toy")[1].split('"') if part.startswith("/report/toy/"))
    status, body, headers = asked(server, link)
    assert status == 200
    assert "sandbox allow-scripts" in headers["Content-Security-Policy"]


def test_a_proxy_reaches_it_by_its_name(settings: Settings) -> None:
    """Beyond loopback by the name of EVERGREEN_PAGES, and a probe by any; on loopback no probe by another name."""
    outside = settings.model_copy(update={"pages": "https://pages.example.org/"})
    # What takes long to read is not asked for here.
    paths = ("/nothing", "/health")
    for host, wanted in (("0.0.0.0", (404, 200)), ("127.0.0.1", (404, 421))):  # noqa: S104
        with Server(PageCache(outside, PageLinks()), 0, host) as found:
            thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                assert asked(found, paths[0], Host="pages.example.org")[0] == wanted[0]
                assert asked(found, paths[0], Host="evil.example")[0] == 421
                assert asked(found, paths[1], Host="10.1.2.3:4300")[0] == wanted[1]
            finally:
                found.shutdown()
                thread.join()


def test_an_address_that_is_not_this_machines_is_refused(settings: Settings) -> None:
    """By a sentence that says which option to change."""
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(EvergreenError, match=f"Port 0 on {host} is no address of this machine.*--host"):
            Server(PageCache(settings, PageLinks()), 0, host)


def test_a_page_is_made_again_when_something_was_decided(settings: Settings, server: Server) -> None:
    """The same page answers until a table has changed."""
    before = asked(server, "/bare")[1]
    assert asked(server, "/bare")[1] == before
    told = no_champion(models.load("bare", settings.models).spec).detail
    late = Decision("late", "performance", LAST, "INCONCLUSIVE", 1, 1, "", "no labels yet", told)
    Decisions(settings.lake_uri, "bare").record(late)
    assert "no labels yet" in asked(server, "/bare")[1]


def test_a_taken_port_is_one_clear_line(settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 2, the port, and how to choose another."""
    monkeypatch.setenv("EVERGREEN_HOME", str(settings.root))
    done = CliRunner().invoke(app, ["page", "--serve", "--port", str(server.server_port)])
    assert done.exit_code == 2
    assert f"Port {server.server_port}" in done.stderr
    assert "--port N" in done.stderr
