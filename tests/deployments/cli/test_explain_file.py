"""`evergreen explain-file`: what a model file says, as a page for a person and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app


def test_the_shipped_model_is_explained(home: Path) -> None:
    """Columns, rules, runs and gaps of iris; nothing is stored."""
    shown = CliRunner().invoke(app, ["explain-file", "iris"])
    assert shown.exit_code == 0
    for title in ("Columns", "Split", "Metric and gates", "Runs", "What is not protected"):
        assert title in [line.strip() for line in shown.stdout.splitlines()]
    assert "A random 20% of the rows judge a candidate (seed 42)." in shown.stdout
    assert not home.exists() or not any(home.iterdir())


@pytest.mark.usefixtures("home")
def test_a_file_that_new_wrote_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `evergreen new` left out is told with its reason, and that nothing runs yet."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    rows = [f"{number},{number % 7},note {number},{'yes' if number % 3 else 'no'}" for number in range(200)]
    (tmp_path / "churn.csv").write_text("\n".join(["id,age,note,churned", *rows]))
    words = ["new", "churn", "--csv", str(tmp_path / "churn.csv"), "--target", "churned", "--key", "id"]
    assert CliRunner().invoke(app, words).exit_code == 0
    told = json.loads(CliRunner().invoke(app, ["explain-file", "churn", "--json"]).stdout)
    uses = {column["name"]: column["use"] for column in told["columns"]}
    assert (uses["id"], uses["churned"]) == ("key", "target")
    assert "an identifier" in {column["name"]: column["why"] for column in told["left_out"]}["note"]
    assert [gap for gap in told["gaps"] if gap.startswith("Nothing runs by itself: prefect.yaml has no deployment")]


def test_an_unknown_model_is_one_line() -> None:
    """As every other command says it."""
    result = CliRunner().invoke(app, ["explain-file", "nothing_of_this_name"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
