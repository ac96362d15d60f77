"""Every alert fires and stays quiet when it should, says what to do, and asks only for what the code tells."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from evergreen.settings import PROJECT, Settings
from serving.version import ServedVersion
from tests.deployments.monitoring.exposed import labels_of, loop_labels

RULES = PROJECT / "deployments" / "monitoring" / "rules"
CASES = PROJECT / "tests" / "deployments" / "monitoring" / "alerts.yml"
RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on this machine; Debian has it in the package prometheus."
)
_SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""
_SELECTOR = re.compile(r"\b(evergreen[a-z0-9_:]*|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"([a-z_]+)\s*[=!]~?")
_GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")


def rules() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every rule, with the name of its file."""
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                yield file.stem, rule


ALERTS = {rule["alert"]: (severity, rule) for severity, rule in rules() if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for _, rule in rules() if "record" in rule}


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    """With the model or the instance that it is about, and a section of the runbook that it points to."""
    severity, rule = ALERTS[name]
    assert rule["labels"] == {"severity": severity}
    told = rule["annotations"]
    assert set(told) == {"summary", "action", "runbook_url"}
    assert all(told[part].rstrip().endswith((".", "?")) for part in ("summary", "action"))
    assert told["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert all(f"**{part}" in section[1] for part in ("Means.", "Look"))
    assert "**Fix.**" in section[1] or "**Look and fix.**" in section[1]


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    """And names pages and tickets as the rules do."""
    pages, tickets = RUNBOOK.split("\n## Pages\n")[1].split("\n## Tickets\n")
    for text, severity in ((pages, "page"), (tickets, "ticket")):
        found = re.findall(r"^### (\w+)$", text, re.MULTILINE)
        assert found == [name for name, (told, _) in ALERTS.items() if told == severity]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    """Side by side: `bad` fires and what else is there does not."""
    cases = {case["name"].split()[0]: case for case in yaml.safe_load(CASES.read_text())["tests"]}
    assert set(cases) == set(ALERTS)
    for name, case in cases.items():
        asked = case["promql_expr_test"][0]
        assert asked["expr"] == f'ALERTS{{alertname="{name}", alertstate="firing"}}'
        assert [sample for sample in asked["exp_samples"] if '"bad"' in sample["labels"]] == asked["exp_samples"]
        series = [each["series"] for each in case["input_series"]]
        assert any('"bad"' in each for each in series)
        assert any('"good"' in each for each in series)


def test_rules_ask_only_for_series_and_labels_that_there_are(
    settings: Settings, make_app: Callable[..., Any], version: ServedVersion
) -> None:
    """A name that the code does not tell would never fire."""
    serving = labels_of(make_app(version).metrics.registry.collect())
    known = {"up": set(), **loop_labels(settings), **dict(serving)}
    for _, rule in rules():
        assert list(strange_names(rule["expr"], known)) == []
    assert list(strange_names('evergreen_gone{model="x"} + up{modell="x"}', known)) == ["evergreen_gone", "modell"]


def strange_names(expression: str, known: Mapping[str, set[str]]) -> Iterator[str]:
    """Series and labels of an expression that nobody tells."""
    labels: set[str] = set()
    for name, matchers in _SELECTOR.findall(expression):
        if name in RECORDED:
            labels |= {each.strip() for part in _GROUPING.findall(RECORDED[name]) for each in part.split(",")}
        elif name in known:
            labels |= known[name]
        else:
            yield name
            continue
        yield from (each for each in _MATCHER.findall(matchers) if each not in known.get(name, labels) | _SCRAPED)
    for part in _GROUPING.findall(expression):
        yield from (each.strip() for each in part.split(",") if each.strip() not in labels | _SCRAPED)


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    """Syntax, and names of recorded series."""
    done = promtool("check", "rules", *map(str, sorted(RULES.glob("*.yml"))))
    assert (done.returncode, "FAILED" in done.stdout) == (0, False), done.stdout + done.stderr


@needs_promtool
def test_each_alert_fires_and_stays_quiet() -> None:
    """As Prometheus evaluates it."""
    done = promtool("test", "rules", str(CASES))
    assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done.stdout + done.stderr


@needs_promtool
@pytest.mark.slow
@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_that_never_fires_is_found(name: str, tmp_path: Path) -> None:
    """So is one that always does: each case refuses a rule that is wrong."""
    case = next(each for each in yaml.safe_load(CASES.read_text())["tests"] if each["name"].startswith(f"{name} "))
    for severity, planted in (("never", "vector(0) > 1"), ("always", "")):
        files = []
        for file in sorted(RULES.glob("*.yml")):
            text = yaml.safe_load(file.read_text())
            for rule in (rule for group in text["groups"] for rule in group["rules"] if rule.get("alert") == name):
                rule |= {"expr": planted or _without_threshold(rule["expr"]), "for": "0s"}
            files.append(tmp_path / f"{severity}-{file.name}")
            files[-1].write_text(yaml.safe_dump(text))
        cases = {"rule_files": list(map(str, files)), "evaluation_interval": "1m", "tests": [case]}
        (tmp_path / f"{severity}.yml").write_text(yaml.safe_dump(cases))
        assert promtool("test", "rules", str(tmp_path / f"{severity}.yml")).returncode != 0, severity


def _without_threshold(expression: str) -> str:
    """The first series of an expression that is there whatever its value."""
    found = _SELECTOR.search(expression)
    assert found is not None
    return f"{found[1]} * 0 + 1"
