"""Series of several environments can be told apart by the model."""

from __future__ import annotations

from evergreen.prometheus import counter, gauge, in_environment


def test_a_model_is_called_as_in_mlflow() -> None:
    """Every sample of a model has the environment's name in its label; others, and those without a name, stay."""
    families = [
        gauge("evergreen_data_rows", "Rows.", "model", [(("toy",), 3)]),
        counter("evergreen_requests_total", "Requests.", "code model", [(("ok", "toy"), 1), (("refused", "toy"), 2)]),
        gauge("evergreen_disk_free_bytes", "Room.", "", [((), 5)]),
    ]
    before = [sample.labels for family in in_environment("", families) for sample in family.samples]
    after = [sample.labels for family in in_environment("staging", families) for sample in family.samples]
    assert [labels.get("model") for labels in before] == ["toy", "toy", "toy", None]
    assert after == [labels | ({"model": "staging-toy"} if "model" in labels else {}) for labels in before]
