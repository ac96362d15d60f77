"""Write the dashboards into the folder from which Grafana reads them: `python -m deployments.monitoring.dashboards`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "grafana"


def dashboards() -> Mapping[Path, str]:
    """The JSON of each dashboard, by its file."""
    # The library that makes them is one for developers.
    from deployments.monitoring.fleet_dashboard import fleet_dashboard
    from deployments.monitoring.model_dashboard import model_dashboard

    return {FOLDER / "fleet.json": fleet_dashboard(), FOLDER / "model.json": model_dashboard()}


def main() -> None:
    """Write them."""
    for file, text in dashboards().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
