"""A version is carried over from another environment by the hand of the one that wants it, and judged there anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import models
from evergreen.details.decision import RetrainDetail
from evergreen.errors import ArtifactError, EvergreenError, RefusedError, RegistryError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.maintenance.rebuild import rebuild
from evergreen.registry.artifacts import PIPELINE, sha256
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

pytestmark = pytest.mark.usefixtures("in_process")
MODEL = "toy"
TOY = Path(__file__).resolve().parents[1] / "faults" / "models" / "toy.py"


class Sides:
    """Staging and production of one installation; production sees staging."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, make_rows: Callable[..., pd.DataFrame]) -> None:
        self._place, self._monkeypatch, self._make_rows = place, monkeypatch, make_rows
        self.models = place / "models"
        self.models.mkdir()
        self.write_model()

    def write_model(self, change: Callable[[str], str] = str) -> None:
        (self.models / f"{MODEL}.py").write_text(change(TOY.read_text()))

    @contextmanager
    def be(self, environment: str) -> Iterator[Settings]:
        """Be an environment for a while."""
        shared = {
            "ENVIRONMENT": environment,
            "SEES": "staging" if environment == "prod" else "",
            "HOME": str(self._place / "home"),
            "MODELS": str(self.models),
            "LAKE": str(self._place / "lake"),
            "TRACKING_URI": f"sqlite:///{self._place / 'mlflow.db'}",
        }
        with self._monkeypatch.context() as context:
            for name, value in shared.items():
                context.setenv(f"EVERGREEN_{name}", value)
            yield load_settings()

    def land(self, settings: Settings, start: int, rows: int, **law: Any) -> None:
        folder = settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        self._make_rows(rows, start=start, **law).to_csv(folder / f"{start:06}.csv", index=False)

    def train(self, environment: str, start: int, rows: int, **law: Any) -> RetrainDetail:
        """Land rows in an environment, and retrain there."""
        from flows.retrain import retrain

        with self.be(environment) as settings:
            self.land(settings, start, rows, **law)
            found = retrain(MODEL, reason=f"rows from {start}")
        assert found is not None
        return found

    def adopt(self, number: int = 1, source: str = "staging") -> RetrainDetail:
        """Let production adopt a version."""
        from flows.adopt import adopt

        with self.be("prod"):
            return adopt(MODEL, number, source)

    def version(self, environment: str, number: int) -> tuple[Registry, Version]:
        with self.be(environment) as settings:
            registry = Registry(settings)
            return registry, registry.get(MODEL, number)

    def state(self, environment: str) -> dict[str, Any]:
        """All that an environment has: versions, aliases, decisions, moves and the files of its tables."""
        with self.be(environment) as settings:
            versions = Registry(settings).versions(MODEL)
            champion = Registry(settings).champion(MODEL)
            return {
                "versions": versions,
                "champion": champion.number if champion else None,
                "decisions": Decisions(settings.lake_uri, MODEL).all("retrain"),
                "moves": Promotions(settings.lake_uri, MODEL).all(),
                "lake": sha256(Path(settings.lake_uri)),
                "artifacts": [sha256(Registry(settings).files(version)) for version in versions],
            }


@pytest.fixture
def sides(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_rows: Callable[..., pd.DataFrame],
    empty_database: Path,
) -> Sides:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Sides(tmp_path, monkeypatch, make_rows)


def test_a_version_is_carried_over_to_the_byte_and_promoted_by_the_one_path(sides: Sides) -> None:
    """Files, hashes and lineage are the source's, the judgement is of production's rows, and the source stays as is."""
    assert sides.train("staging", 0, 300).outcome == "promoted"
    before = sides.state("staging")
    with sides.be("prod") as settings:
        sides.land(settings, 200, 200)
    found = sides.adopt()
    assert (found.outcome, found.version, found.champion) == ("promoted", 1, 1), found.explanation
    assert found.reason == "adoption of staging version 1"
    assert sides.state("staging") == before

    (theirs, source), (ours, adopted) = sides.version("staging", 1), sides.version("prod", 1)
    assert (adopted.tags.adopted_from, adopted.tags.adopted_version) == ("staging", 1)
    for name in ("sha256", "files_sha256", "state_sha256", "data_digest", "data_rows", "recipe", "spec_hash", "seed"):
        assert adopted.tags.raw[name] == source.tags.raw[name], name
    assert adopted.tags.data_version is None
    assert adopted.tags.next_row == 200
    assert source.tags.learned_end == "2025-01-13T11:00:00+00:00"
    assert adopted.tags.learned_end == "2025-01-17T15:00:00+00:00"
    folders = theirs.stored.pipeline_folder(source), ours.stored.pipeline_folder(adopted)
    assert folders[0] != folders[1]
    assert (folders[0] / PIPELINE).read_bytes() == (folders[1] / PIPELINE).read_bytes()
    assert adopted.run_id in (folders[1] / "MLmodel").read_text()
    assert source.run_id not in (folders[1] / "MLmodel").read_text()
    assert ours.client.get_run(adopted.run_id).info.status == "FINISHED"
    metrics = ours.client.get_run(adopted.run_id).data.metrics
    assert metrics["train_rows"] == 240
    assert metrics["holdout_mae"] == pytest.approx(adopted.tags.figures["holdout_mae"])
    assert adopted.tags.figures["holdout_mae"] != source.tags.figures["holdout_mae"]
    assert "| carried over from | staging, version 1 |" in adopted.description
    assert "`evergreen rebuild toy 1` in the environment staging, which has the rows." in adopted.description
    assert "trains it again" not in adopted.description

    record = ours.client.download_artifacts(adopted.run_id, "adopted/adopted.json")
    text = Path(record).read_text()
    told = json.loads(text)
    assert hashlib.sha256(text.encode()).hexdigest() == adopted.tags.raw["adopted_record"]
    assert [each["outcome"] for each in told["decisions"]] == ["promoted"]
    assert [each["phase"] for each in told["promotions"]] == ["intent", "done"]
    assert told["tags"]["sha256"] == source.tags.sha256

    with sides.be("prod") as settings:
        move = Promotions(settings.lake_uri, MODEL).done()[-1]
        assert (move.after, move.sha256, move.by) == (1, source.tags.sha256, "retrain")
        loaded = models.load(MODEL, settings.models)
        with pytest.raises(RefusedError, match="was carried over from staging, version 1"):
            rebuild(loaded.spec, loaded.hash, settings, Registry(settings), 1)


def test_rows_that_it_learned_there_do_not_judge_it_here(sides: Sides) -> None:
    """Both environments have the same rows: of those that are held out here, the ones that staging learned are out."""
    sides.train("staging", 0, 320)
    with sides.be("prod") as settings:
        sides.land(settings, 0, 300)
    # Of 300 rows the newest 60 are held out; staging learned the first 256, which are 16 of them.
    found = sides.adopt()
    assert next(check for check in found.checks if check.name == "holdout").value == 44
    assert sides.version("prod", 1)[1].tags.holdout_rows == 44


def test_a_version_that_knows_all_rows_is_not_judged_by_them(sides: Sides) -> None:
    """The planted leak: staging deployed a refit of every row that production has. It may not judge itself by them."""
    sides.write_model(_refit)
    assert sides.train("staging", 0, 300).outcome == "promoted"
    with sides.be("prod") as settings:
        sides.land(settings, 0, 300)
    found = sides.adopt()
    assert found.outcome == "inconclusive"
    assert found.explanation == (
        "holdout: Only 0 holdout rows; at least 30 are needed to judge. 60 rows that are held out here were "
        "learned before, by this version where it comes from or by the champion: land newer rows."
    )
    with sides.be("prod") as settings:
        sides.land(settings, 300, 100)
    found = sides.adopt()
    assert (found.outcome, found.version) == ("promoted", 2), found.explanation
    assert {"deployed integrity", "refit"}.isdisjoint(check.name for check in found.checks)


def test_it_has_to_be_proven_better_than_the_champion_here(sides: Sides) -> None:
    """Production's law has changed, and staging has learned it: that goes in. What staging learned next is refused."""
    assert sides.train("prod", 1000, 300).outcome == "promoted"
    with sides.be("prod") as settings:
        sides.land(settings, 1300, 100, slope=5.0)
    assert sides.train("staging", 0, 300, slope=5.0).outcome == "promoted"
    found = sides.adopt()
    assert (found.outcome, found.version, found.champion) == ("promoted", 2, 2), found.explanation
    assert found.metric.interval is not None
    assert found.metric.interval[0] > 0

    assert sides.train("staging", 300, 900, slope=3.0).outcome == "promoted"
    worse = sides.adopt(2)
    assert (worse.outcome, worse.version, worse.champion) == ("rejected", 3, 2)
    assert next(check for check in worse.checks if check.name == "champion").status == "FAIL"


def test_its_performance_counts_from_the_rows_that_come_after_it(sides: Sides) -> None:
    """Rows of the law before are older than the adoption, though newer than its training: they are no fault of it."""
    from flows.monitor import monitor

    sides.train("staging", 0, 300, slope=5.0)
    sides.train("prod", 1000, 300)
    with sides.be("prod") as settings:
        sides.land(settings, 1300, 100, slope=5.0)
    assert sides.adopt().outcome == "promoted"
    with sides.be("prod") as settings:
        assert monitor(MODEL).performance.verdict == "INCONCLUSIVE"
        sides.land(settings, 1400, 400, slope=5.0)
        assert monitor(MODEL).performance.verdict == "PASS"


def test_what_may_not_be_adopted_is_refused_and_nothing_is_changed(sides: Sides) -> None:
    """Each planted fault has its own sentence; production has no version, and no run, afterwards."""
    sides.train("staging", 0, 300)
    assert sides.train("staging", 300, 200, slope=-3.0).outcome == "rejected"
    with sides.be("prod") as settings:
        sides.land(settings, 200, 200)
    refused: list[tuple[dict[str, Any], type[EvergreenError], str]] = [
        ({"source": "dev"}, EvergreenError, "EVERGREEN_SEES does not name the environment 'dev'"),
        ({"source": "prod"}, EvergreenError, "this is the environment prod itself"),
        ({"number": 9}, RegistryError, "toy has no version 9; there are: 1, 2"),
        ({"number": 2}, RefusedError, "toy version 2 of staging is FAILED: only what passed its gates"),
    ]
    for words, kind, sentence in refused:
        with pytest.raises(kind, match=sentence):
            sides.adopt(**words)
    sides.write_model(lambda text: text.replace("Ridge()", "Ridge(alpha=2.0)"))
    with pytest.raises(RefusedError, match=r"was made by another .*toy\.py than is here"):
        sides.adopt()
    sides.write_model()
    registry, version = sides.version("staging", 1)
    file = registry.stored.pipeline_folder(version) / PIPELINE
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="its sha256 differs"):
        sides.adopt()
    file.write_bytes(whole)
    for tag, sentence in (
        ("rolled_back", "was rolled back: a person's reason"),
        ("refused", "was refused by its canary: a person's reason"),
        ("declined", "was not wanted: a person's reason"),
        ("cleaned", "was cleaned at a person's reaso: its files are gone"),
    ):
        registry.tag(version, tag, "a person's reason")
        with pytest.raises(RefusedError, match=sentence):
            sides.adopt()
        registry.untag(registry.get(MODEL, 1), tag)
    with sides.be("prod") as settings:
        ours = Registry(settings)
        assert ours.versions(MODEL) == ()
        assert ours.client.get_experiment_by_name(ours.experiment(MODEL)) is None


def test_the_same_model_is_adopted_once_and_not_after_it_was_taken_back(sides: Sides) -> None:
    """A second call changes nothing; what a person rolled back here is not carried over again."""
    from flows.rollback import rollback

    sides.train("prod", 0, 200, slope=1.0)
    sides.train("staging", 1000, 300)
    with sides.be("prod") as settings:
        sides.land(settings, 2000, 300)
    assert sides.adopt().outcome == "promoted"
    again = sides.adopt()
    assert (again.outcome, again.explanation) == ("unchanged", "version 2, the champion, is this very model")
    with sides.be("prod"):
        rollback(MODEL, "too slow")
    found = sides.adopt()
    assert (found.outcome, found.champion) == ("rejected", 1)
    assert found.explanation == "version 2 is this very model and was rolled back: too slow"


@pytest.mark.parametrize(
    "step", ["tasks.register.register_once", "tasks.gate.evaluate_candidate", "flows.shared.conclude.record_retrain"]
)
def test_a_run_that_died_is_finished_by_the_next(sides: Sides, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Before it is registered, before it is judged, and after the champion was moved: one version, one decision."""
    sides.train("staging", 0, 300)
    with sides.be("prod") as settings:
        sides.land(settings, 200, 200)

    class Killed(BaseException):
        pass

    def die(*_words: object, **_more: object) -> None:
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(step, die)
        with pytest.raises(Killed):
            sides.adopt()
    found = sides.adopt()
    state = sides.state("prod")
    assert (found.outcome, found.champion, state["champion"]) == ("promoted", 1, 1)
    assert [version.status for version in state["versions"]] == ["PASSED"]
    assert [each.outcome for each in state["decisions"]] == ["promoted"]
    assert [move.phase for move in state["moves"]] == ["intent", "done"]


def _refit(text: str) -> str:
    text = text.replace("import DriftThresholds,", "import Training, DriftThresholds,")
    return text.replace("    drift=Drift", "    training=Training(refit=True),\n    drift=Drift")
