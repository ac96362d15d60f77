"""`evergreen new` from other places than a CSV: its options reach the model file."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner

from deployments.cli.main import app


def test_a_model_file_is_written_from_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --json one object; options that do not fit are status 2, one line, and nothing is written."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    pd.DataFrame({"id": range(200), "x": [n % 7 for n in range(200)], "y": [n % 2 for n in range(200)]}).to_sql(
        "rows", engine, index=False
    )
    engine.dispose()
    words = ["--sql", f"sqlite:///{tmp_path / 'shop.db'}", "--query", "SELECT * FROM rows", "--watermark", "id"]
    asked = ["new", "shop", *words, "--key", "id", "--target", "y", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["path"] == str(tmp_path / "models" / "shop.py")
    assert 'watermark="id",' in (tmp_path / "models" / "shop.py").read_text()
    for more, said in ((["--rev", "v1"], "--rev goes with --dvc"), (["--delta", "t"], "are two to start from")):
        wrong = CliRunner().invoke(app, ["new", "other", *words, *more, "--key", "id", "--target", "y"])
        assert wrong.exit_code == 2
        assert said in wrong.output
    assert not (tmp_path / "models" / "other.py").exists()
