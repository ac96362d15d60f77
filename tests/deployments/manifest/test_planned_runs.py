"""When a model's flows run, read from prefect.yaml."""

from __future__ import annotations

from pathlib import Path

from deployments.manifest.planned_runs import describe_runs

TEXT = """
deployments:
  - name: monitor-toy
    entrypoint: flows.monitor.monitor
    parameters: {model: toy}
    schedules:
      - {cron: "15 * * * *", timezone: UTC}
      - {interval: 3600, active: false}
  - name: retrain-toy
    entrypoint: flows.retrain.retrain
    parameters: {model: toy}
    triggers:
      - {type: event, expect: [evergreen.drift.failed]}
  - name: score-toy
    entrypoint: flows.score.score
    parameters: {model: toy}
"""


def test_schedules_and_events_are_told(tmp_path: Path) -> None:
    """One sentence a deployment: schedules, also paused ones, events, or that nothing starts it."""
    path = tmp_path / "prefect.yaml"
    path.write_text(TEXT)
    assert describe_runs("toy", path) == (
        "monitor-toy runs at '15 * * * *' UTC (cron) and every 3600 seconds (paused).",
        "retrain-toy runs on the event evergreen.drift.failed.",
        "score-toy runs only when somebody starts it.",
    )
    assert describe_runs("other", path) == ()


def test_the_shipped_models_run_by_themselves() -> None:
    """Both are in the project's own file."""
    assert all(len(describe_runs(model)) == 3 for model in ("iris", "bike_demand"))
