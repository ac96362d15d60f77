"""What Prometheus would read of a text, for tests."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Series:
    """Series by name and labels; names are given without `evergreen_`."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Of the one series with these labels; None where there is none."""
        found = [each.value for each in self.samples if (each.name, each.labels) == (f"evergreen_{name}", labels)]
        assert len(found) <= 1
        return found[0] if found else None

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """By the values of the labels, in the order of their names."""
        found = [each for each in self.samples if each.name == f"evergreen_{name}"]
        return {tuple(value for _, value in sorted(each.labels.items())): each.value for each in found}
