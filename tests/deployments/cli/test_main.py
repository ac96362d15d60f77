"""The command line with the real flows, registry, tables and a Prefect server, in the test's own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from evergreen.data.observations import Observations
from evergreen.registry.client import Registry
from evergreen.settings import PROJECT, Settings

pytestmark = pytest.mark.usefixtures("in_process")

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Invoke the command line: run("retrain", "iris", "--json")."""
    return lambda *words: CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of model files of the test's own."""
    place = tmp_path / "models"
    place.mkdir()
    monkeypatch.setenv("EVERGREEN_MODELS", str(place))
    return place


def told(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def churn(rows: int = 400) -> pd.DataFrame:
    """Customers without a time column: text categories, missing values, a binary target."""
    random = np.random.default_rng(3)
    tenure = random.integers(0, 72, rows).astype(float)
    plan = random.choice(["basic", "plus", "pro"], rows)
    churned = random.random(rows) < 1 / (1 + np.exp(0.12 * tenure - 2.5 * (plan == "basic") - 1))
    tenure[random.random(rows) < 0.1] = np.nan
    spend = random.gamma(2, 30, rows).round(2)
    return pd.DataFrame(
        {"customer": [f"c{n:05d}" for n in range(rows)], "tenure": tenure, "plan": plan, "spend": spend}
    ).assign(plan=lambda frame: frame["plan"].mask(random.random(rows) < 0.05), churned=np.where(churned, "yes", "no"))


def test_iris_is_promoted_then_unchanged(run: Run, settings: Settings) -> None:
    """The classic reaches its known accuracy of 1.0 on 30 rows; a second call reads nothing and makes no version."""
    first = told(run("retrain", "iris", "--json"))
    assert (first["outcome"], first["champion"], first["metric"]["value"]) == ("promoted", 1, 1.0)
    assert {check["name"]: check["value"] for check in first["checks"]}["holdout"] == 30
    assert {check["status"] for check in first["checks"]} == {"PASS"}
    wanted = "model outcome version champion reason metric checks drift snapshot report"
    assert set(wanted.split()) <= set(first)
    second = told(run("retrain", "iris", "--json"))
    assert (second["outcome"], second["champion"], second["ingest"]["cached"]) == ("unchanged", 1, True)
    assert len(Registry(settings).versions("iris")) == 1
    forced = told(run("retrain", "iris", "--force", "--json"))
    assert (forced["outcome"], forced["version"], forced["champion"]) == ("inconclusive", 2, 1)
    state = told(run("status", "iris", "--json"))
    assert (state["champion"], state["challenger"], state["previous"]) == (1, None, None)
    assert state["last_retrain"]["outcome"] == "inconclusive"


def test_new_then_retrain_needs_no_edit(run: Run, folder: Path, tmp_path: Path) -> None:
    """A CSV of another shape gets a model file that promotes a first champion as it is; new never overwrites."""
    churn().to_csv(tmp_path / "customers.csv", index=False)
    made = told(run("new", "churn", "--csv", str(tmp_path / "customers.csv"), "--target", "churned", "--json"))
    assert made["task"] == "classification"
    written = (folder / "churn.py").read_bytes()
    result = told(run("retrain", "churn", "--json"))
    assert (result["outcome"], result["champion"]) == ("promoted", 1), result["explanation"]
    again = run("new", "churn", "--csv", str(tmp_path / "customers.csv"), "--target", "churned")
    assert again.exit_code == 2
    assert (folder / "churn.py").read_bytes() == written


def test_manual_approval_rollback_and_history(
    run: Run, settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With manual approval the candidate waits; promote, reject, rollback and history tell who it was, and why."""
    churn(600).iloc[:400].to_csv(tmp_path / "customers.csv", index=False)
    told(run("new", "churn", "--csv", str(tmp_path / "customers.csv"), "--target", "churned", "--json"))
    file = folder / "churn.py"
    file.write_text(file.read_text().replace('    name="churn",\n', '    name="churn",\n    approval="manual",\n'))
    waiting = told(run("retrain", "churn", "--json"))
    assert (waiting["outcome"], waiting["champion"]) == ("awaiting-approval", None)
    assert told(run("status", "churn", "--json"))["challenger"] == 1
    assert run("promote", "churn", "--reason", " ").exit_code == 2
    rejected = told(run("promote", "churn", "--reject", "--reason", "not yet", "--by", "<b>Ann</b>", "--json"))
    assert rejected["rejected"] == 1
    assert Registry(settings).get("churn", 1).tags.raw["declined_by"] == "person: <b>Ann</b>"
    monkeypatch.setenv("LOGNAME", "bob")
    promoted = told(run("promote", "churn", "1", "--reason", "looked fine", "--json"))
    assert (promoted["champion"], promoted["changed"]) == (1, True)
    nothing = run("rollback", "churn", "--reason", "cold feet")
    assert nothing.exit_code == 2
    assert "no predecessor" in nothing.stderr
    past = told(run("history", "churn", "--json"))
    assert [(move["action"], move["champion"], move["by"]) for move in past["moves"]] == [("promote", 1, "person: bob")]
    assert "bob, a person" in " ".join(run("history", "churn").stdout.split())
    assert told(run("history", "churn", "--at", "2020-01-01", "--json"))["champion"] is None


def test_a_champion_that_was_deleted_is_given_up_by_a_person(run: Run, settings: Settings) -> None:
    """Forced or not, a retraining names the command; it refuses a whole champion, and a first one follows."""
    assert told(run("retrain", "iris", "--json"))["champion"] == 1
    assert "iris version 1 is not lost" in run("accept-loss", "iris", "--reason", "none").stderr
    Registry(settings).client.delete_model_version("iris", "1")
    for words in (["--force"], []):
        refused = run("retrain", "iris", *words)
        assert refused.exit_code == 2
        assert "evergreen accept-loss iris --reason TEXT" in refused.stderr
    given_up = run("accept-loss", "iris", "--reason", "tidied <up>", "--by", "kim")
    assert "version 1 is given up as lost" in " ".join(given_up.stdout.split())
    assert told(run("retrain", "iris", "--json"))["outcome"] == "promoted"
    moves = told(run("history", "iris", "--json"))["moves"]
    assert [(move["action"], move["before"], move["champion"], move["by"]) for move in moves] == [
        ("promote", None, 1, "retrain"),
        ("loss", 1, None, "person: kim"),
        ("promote", None, 2, "retrain"),
    ]


def test_monitor_before_a_champion_is_inconclusive(run: Run) -> None:
    """Without a champion there is nothing to compare with, and that is said."""
    seen = told(run("monitor", "iris", "--json"))
    assert (seen["verdict"], seen["decision_id"], seen["report"]) == ("INCONCLUSIVE", None, None)
    assert set("model verdict share columns decision_id report".split()) <= set(seen)


def _csv(folder: Path, text: str | bytes) -> str:
    file = folder / "given.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(file)


GOOD = "x,y\n" + "".join(f"{n},{n % 7}.5\n" for n in range(200))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not there"),
        ("", "empty"),
        (b"\x00\x01\x02" * 99, ""),
        ("x,y\n", ""),
        (GOOD.replace("x,y", "x,z"), "'y'"),
        ("x,y\n" + "1,a\n" * 200, "only the value"),
        ("x,y\n" + "".join(f"{n},2.5\n" for n in range(200)), ""),
    ],
    ids=["missing", "empty", "binary", "header only", "no target", "one class", "constant target"],
)
def test_new_refuses_bad_files(run: Run, folder: Path, tmp_path: Path, content: str | bytes | None, words: str) -> None:
    """A file that nothing can be learned from is one clear line and exit status 2, and no model file is left."""
    path = str(tmp_path / "given.csv") if content is None else _csv(tmp_path, content)
    result = run("new", "given", "--csv", path, "--target", "y")
    one_line(result, words)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["a/b", "../x", "a\0b", "x" * 10_000, "", "Ünï", "class"])
@pytest.mark.parametrize("command", ["new", "retrain", "history"])
def test_names_that_are_no_names(run: Run, folder: Path, tmp_path: Path, name: str, command: str) -> None:
    """A name with a slash, dots, NUL or ten thousand letters is refused in one short line."""
    extra = ["--csv", _csv(tmp_path, GOOD), "--target", "y"] if command == "new" else []
    one_line(run(command, name, *extra))
    assert not list(folder.iterdir())


def one_line(result: Result, words: str = "") -> None:
    """Exit status 2, one line on stderr that says `words`, nothing that looks like a traceback."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert words in lines[0]
    assert len(lines[0]) < 600
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("accuracy", "acuracy", "metric"),
        ('task="classification"', 'task="clustering"', "task"),
        ("share=0.2", "share=20", "share"),
        ("    pipeline=pipeline,\n", "", "pipeline"),
        ("drift=", "drfit=", "drfit"),
        ('target="species"', 'target="petal_width_cm"', "target"),
        ("MODEL = ", "MODEL = = ", "line"),
        ("from evergreen.sources import Bundled", "from evergreen.sources import Bundle", "Bundle"),
        ('name="iris"', 'name="irish"', "name"),
    ],
)
def test_a_mistake_in_a_model_file_names_the_field(run: Run, folder: Path, old: str, new: str, words: str) -> None:
    """The message names the file and the field, and nothing is started."""
    text = (PROJECT / "models" / "iris.py").read_text()
    assert old in text
    (folder / "iris.py").write_text(text.replace(old, new))
    result = run("retrain", "iris")
    one_line(result, words)
    assert "iris.py" in result.stderr


def test_bad_first_data_is_one_line_and_kept(run: Run, home: Path, settings: Settings) -> None:
    """Where quarantine leaves nothing to train on, that is exit status 2 and says why; the file is kept."""
    landing = settings.landing / "bike_demand"
    landing.mkdir(parents=True)
    (landing / "a.csv").write_text("dteday,hr\n1/1/2011,0\n1/1/2011,1\n")
    result = run("retrain", "bike_demand")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    last = result.stderr.splitlines()[-1]
    assert "a.csv is in quarantine: column" in last
    assert "is missing" in last
    assert list((home / "quarantine" / "bike_demand").iterdir())
    again = run("retrain", "bike_demand", "--json")
    assert again.exit_code == 2
    assert "a.csv" in json.loads(again.stdout)["error"]


def test_too_few_rows_are_inconclusive(run: Run, folder: Path, tmp_path: Path) -> None:
    """With too few rows to judge by, nothing is promoted, and that is said with exit status 0."""
    churn(40).to_csv(tmp_path / "customers.csv", index=False)
    told(run("new", "churn", "--csv", str(tmp_path / "customers.csv"), "--target", "churned", "--json"))
    result = told(run("retrain", "churn", "--json"))
    assert result["outcome"] == "inconclusive"
    assert "holdout rows; at least" in result["explanation"]
    assert result["champion"] is None


def test_params_by_hand(run: Run) -> None:
    """--param skips the search; a parameter that the pipeline does not have is one line."""
    one_line_last(run("retrain", "iris", "--param", "model__trees=3"), "model__trees")
    one_line_last(run("retrain", "iris", "--param", "nonsense"), "NAME=VALUE")
    result = told(run("retrain", "iris", "--param", "model__n_estimators=5", "--json"))
    assert result["outcome"] == "promoted"


def one_line_last(result: Result, words: str) -> None:
    """As `one_line`, after the lines of the steps that went well."""
    assert result.exit_code == 2, result.output
    assert words in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_deleting_the_lake_ingests_again(run: Run, settings: Settings) -> None:
    """The cache belongs to the table: with another table, the source is read again."""
    import shutil

    told(run("retrain", "iris", "--json"))
    shutil.rmtree(settings.root / "lake" / "iris" / "observations")
    again = told(run("monitor", "iris", "--json"))
    assert again["ingest"]["rows"] == 150
    import models

    assert Observations(settings.lake_uri, models.load("iris", settings.models).spec).snapshot().rows == 150
