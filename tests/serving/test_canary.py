"""A challenger answers its share of live traffic, and what both versions say of the same rows is kept."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.frames import model_frame
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.settings import Settings
from evergreen.spec import Features, ModelSpec, Serve
from serving import frame_worker
from serving.app import App
from serving.options import Options
from serving.server import build
from serving.version import ServedVersion
from tests.serving.conftest import MODEL_FILE, Home, as_utc, ask, ask_once, open_canary, unhurried

PREDICT = "/models/toy/predict"
INFER = "/v2/models/toy/versions/{}/infer"
ROW = {"x": 1.0, "kind": "a"}
KEYS = [f"customer-{number}" for number in range(200)]
Make = Callable[..., Any]


@pytest.fixture
def challenger(make_version: Make) -> ServedVersion:
    """Answers ten times as much as `version`."""
    return replace(make_version(number=2, slope=30.0), alias="challenger")


@pytest.fixture
def app(make_app: Make, version: ServedVersion) -> App:
    return make_app(version)  # type: ignore[no-any-return]


def as_frames(version: ServedVersion) -> ServedVersion:
    return replace(version, plan=None, direct=None, not_compiled="planted")


class Plan:
    """Answers every row alike, or raises."""

    classes = None

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, _values: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, None


def compared(app: App, spec: ModelSpec) -> pd.DataFrame:
    """What is in the comparison log, by request and row."""
    app.parts.queue.write()
    table = ComparisonLog(app.parts.queue.lake, spec).table
    return table.read(table.schema.names).sort_values(["request", "row"], ignore_index=True)


def routes(app: App, keys: list[str] = KEYS) -> dict[str, str]:
    """Who answers each route key: the alias, as the answer says."""

    async def all_keys() -> list[Any]:
        return [await ask(app, PREDICT, ROW, headers={"x-route-key": key}) for key in keys]

    answers = asyncio.run(all_keys())
    assert {answer.status for answer in answers} == {200}
    aliases = {1: "champion", 2: "challenger"}
    assert all(aliases[answer.json["version"]] == answer.json["alias"] for answer in answers)
    return {key: answer.json["alias"] for key, answer in zip(keys, answers, strict=True)}


def test_servers_follow_the_share_that_the_registry_says(served_home: Settings, make_rows: Make) -> None:
    """Steps of 0, 5, 50 and 100 percent: two servers send each key to the same version, and no step takes one away.

    The promotion of the challenger ends it, with the very pipeline that was loaded before.
    """
    home = Home(served_home, as_utc(make_rows(100)))
    first = home.register(1.0)
    second = home.register(10.0, against=first)
    home.promote(first)
    servers = [build(Options(("toy",)), served_home) for _ in range(2)]
    met: set[str] = set()
    counts = []
    for share in (0, 5, 50, 100):
        home.challenge(second, share)
        for server in servers:
            server.parts.follower.look()
        one, other = (routes(server) for server in servers)
        assert one == other
        now = {key for key, alias in one.items() if alias == "challenger"}
        assert now >= met
        met = now
        counts.append(len(met))
    assert (counts[0], counts[3]) == (0, 200)
    # Of 200: beyond these bounds are five standard deviations.
    assert 1 <= counts[1] <= 25
    assert 65 <= counts[2] <= 135
    loaded = servers[0].parts.follower.models["toy"].challenger
    assert loaded is not None
    home.promote(second)
    servers[0].parts.follower.look()
    followed = servers[0].parts.follower.models["toy"]
    assert followed.current is not None
    assert followed.current.pipeline is loaded.pipeline
    assert (followed.current.alias, followed.challenger, followed.share) == ("champion", None, 0)


@pytest.mark.parametrize("ended", ["tag", "alias", "champion", "held against another", "no percent"])
def test_a_challenger_is_dropped_with_the_next_look(served_home: Settings, make_rows: Make, ended: str) -> None:
    """When its tag or its alias goes, or another version than the one that it was held against is champion."""
    home = Home(served_home, as_utc(make_rows(100)))
    first, third = home.register(1.0), home.register(2.0)
    second = home.register(10.0, against=first)
    home.promote(first)
    home.challenge(second, 100)
    server = build(Options(("toy",)), served_home)
    server.parts.follower.look()
    followed = server.parts.follower.models["toy"]
    assert ask_once(server, PREDICT, ROW).json["version"] == second
    if ended == "tag":
        home.registry.untag(home.registry.get("toy", second), "canary")
    elif ended == "alias":
        home.registry.drop_alias("toy", "challenger")
    elif ended == "champion":
        home.promote(third)
    else:
        changed = ("compared_with", str(third)) if ended == "held against another" else ("canary", "500")
        home.registry.tag(home.registry.get("toy", second), *changed)
    server.parts.follower.look()
    answer = ask_once(server, PREDICT, ROW).json
    assert (answer["version"], answer["alias"]) == (third if ended == "champion" else first, "champion")
    assert followed.challenger is None
    told = ask_once(server, "/v2/models/toy", method="GET").json["parameters"]["challenger_problem"]
    assert bool(told) == (ended not in ("tag", "alias"))


def test_a_challenger_that_cannot_be_loaded_disturbs_nobody(served_home: Settings, make_rows: Make) -> None:
    """Its file was changed: the champion answers, and the metadata say why there is no challenger."""
    home = Home(served_home, as_utc(make_rows(100)))
    first = home.register(1.0)
    second = home.register(10.0, against=first)
    home.promote(first)
    home.challenge(second, 100)
    stored = home.registry.stored.pipeline_folder(home.registry.get("toy", second)) / "model.skops"
    stored.write_bytes(stored.read_bytes() + b"changed")
    server = build(Options(("toy",)), served_home)
    server.parts.follower.look()
    assert ask_once(server, PREDICT, ROW).json["version"] == first
    described = ask_once(server, "/v2/models/toy", method="GET").json
    assert described["versions"] == [str(first)]
    assert f"toy version {second}" in described["parameters"]["challenger_problem"]
    assert described["parameters"]["stale"] == ""


def test_a_changed_model_file_gives_the_challenger_its_own_features(served_home: Settings, make_rows: Make) -> None:
    """The one learned from one column more, which a client sends already or not yet: then the champion answers."""
    home = Home(served_home, as_utc(make_rows(100)))
    first = home.register(1.0)
    home.promote(first)
    server = build(Options(("toy",)), served_home)
    server.parts.queue.comparer = unhurried()
    server.parts.follower.look()
    file = served_home.models / "toy.py"
    # On a busy machine a frame is late that is not meant to be.
    unhurried_file = MODEL_FILE.replace("Serve()", 'Serve(canary=Canary(deadline=600)), approval="canary"')
    unhurried_file = unhurried_file.replace("import DriftThresholds", "import Canary, DriftThresholds")
    file.write_text(unhurried_file.replace('numeric=("x",)', 'numeric=("x", "id")'))
    second = home.register(10.0, against=first)
    home.challenge(second, 100)
    server.parts.follower.look()
    assert ask_once(server, PREDICT, ROW | {"id": 3}, headers={"x-request-id": "r-1"}).json["version"] == second
    assert ask_once(server, PREDICT, ROW, headers={"x-request-id": "r-2"}).json["version"] == first
    home.challenge(second, 0)
    server.parts.follower.look()
    for name, row in (("r-3", ROW | {"id": 3}), ("r-4", ROW), ("r-5", ROW | {"x": "1.0", "id": 3})):
        assert ask_once(server, PREDICT, row, headers={"x-request-id": name}).json["version"] == first
    rows = compared(server, home.spec).set_index("request")
    assert rows["champion_failed"].tolist() == [False] * 5
    assert rows["challenger_failed"].tolist() == [False, True, False, True, False]
    assert rows["challenger_prediction"].isna().tolist() == rows["challenger_failed"].tolist()
    followed = server.parts.follower.models["toy"]
    for version, column in zip(followed.answering, ("champion", "challenger"), strict=True):
        asked = pd.DataFrame([ROW | {"id": 3}])
        wanted = version.pipeline.predict(model_frame(asked, version.spec.features))[0]
        for name in ("r-1", "r-3", "r-5"):
            assert rows.loc[name, f"{column}_prediction"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    "answer", [RuntimeError("of the pipeline"), float("nan"), float("inf")], ids=["raises", "nan", "infinite"]
)
def test_where_the_challenger_fails_the_champion_answers(
    app: App, version: ServedVersion, challenger: ServedVersion, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """No client notices; the failure is kept and counted, and the log has one line of it."""
    open_canary(app, replace(challenger, plan=Plan(answer)), 100)  # type: ignore[arg-type]
    for name in ("r-1", "r-2"):
        body = ask_once(app, PREDICT, ROW, headers={"x-request-id": name}).json
        assert (body["version"], body["alias"]) == (1, "champion")
    rows = compared(app, version.spec)
    assert rows["challenger_failed"].tolist() == [True, True]
    assert rows["challenger_prediction"].isna().all()
    assert rows["challenger_microseconds"].isna().all()
    assert (rows["champion_failed"].any(), rows["served"].unique().tolist()) == (False, ["champion"])
    told = ask_once(app, "/v2/models/toy", method="GET").json["parameters"]
    assert list(told["challenger_failures"].values()) == [2]
    assert caplog.text.count("the champion steps in") == 1
    assert "of the pipeline" not in caplog.text


def test_a_failure_where_the_champion_answers_is_kept_as_well(
    app: App, version: ServedVersion, challenger: ServedVersion
) -> None:
    """With the share 0: the challenger predicts what is kept, and fails there."""
    open_canary(app, replace(challenger, plan=Plan(float("nan"))), 0)  # type: ignore[arg-type]
    ask_once(app, PREDICT, [ROW, ROW])
    rows = compared(app, version.spec)
    assert rows["challenger_failed"].tolist() == [True, True]
    assert rows["champion_prediction"].notna().all()


def test_what_the_champion_refuses_too_is_no_failure_of_the_challenger(app: App, challenger: ServedVersion) -> None:
    """The client is told what is wrong with its rows, and nothing is kept."""
    open_canary(app, challenger, 100)
    answer = ask_once(app, PREDICT, {"x": 900.0, "kind": "a"})
    assert (answer.status, answer.json["error"]["code"]) == (422, "invalid_rows")
    assert (app.parts.queue.waiting, app.parts.follower.models["toy"].canary.failures) == (0, {})


def test_a_challenger_that_is_late_is_not_waited_for(
    make_app: Make, version: ServedVersion, challenger: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a frame it hangs: after the deadline the champion answers, whose own frames do not wait behind it."""
    go_on = threading.Event()
    predict = frame_worker.predict

    def hang(pipeline: Any, spec: Any, rows: Any) -> Any:
        if pipeline is challenger.pipeline:
            assert go_on.wait(60)
        return predict(pipeline, spec, rows)

    app = make_app(as_frames(version))
    open_canary(app, as_frames(challenger), 100, deadline=0.05)
    with monkeypatch.context() as hanging:
        hanging.setattr(frame_worker, "predict", hang)
        answer = ask_once(app, PREDICT, ROW)
        go_on.set()
        app.answering.challengers.close()
    assert (answer.status, answer.json["version"]) == (200, 1)
    assert compared(app, version.spec)["challenger_failed"].tolist() == [True]


@pytest.mark.parametrize("share", [0, 100])
def test_an_answer_that_came_late_is_given_and_counts_as_none(
    app: App, version: ServedVersion, challenger: ServedVersion, share: int
) -> None:
    """A plan cannot be interrupted; the rule is the same for both."""
    open_canary(app, challenger, share, deadline=1e-9)
    side = "challenger" if share else "champion"
    assert ask_once(app, PREDICT, ROW).json["alias"] == side
    row = compared(app, version.spec).iloc[0]
    assert (row[f"{side}_failed"], row["served"]) == (True, side)
    other = "champion" if share else "challenger"
    assert not row[f"{other}_failed"]


def test_a_version_can_be_asked_by_its_number(app: App, version: ServedVersion, challenger: ServedVersion) -> None:
    """Whatever the share is; then the other one does not step in."""
    body = {
        "inputs": [
            {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]},
            {"name": "kind", "shape": [1], "datatype": "BYTES", "data": ["a"]},
        ]
    }
    assert ask_once(app, INFER.format(2), body).status == 404
    for share in (0, 100):
        open_canary(app, challenger, share)
        for number, alias in ((1, "champion"), (2, "challenger")):
            answer = ask_once(app, INFER.format(number), body).json
            assert (answer["model_version"], answer["parameters"]["alias"]) == (str(number), alias)
    open_canary(app, replace(challenger, plan=Plan(float("nan"))), 100)  # type: ignore[arg-type]
    assert ask_once(app, INFER.format(2), body).json["detail"]["code"] == "not_finite"
    described = ask_once(app, "/v2/models/toy/versions/2", method="GET").json
    assert described["versions"] == ["1", "2"]
    assert ask_once(app, "/v2/models/toy/versions/2/ready", method="GET").json["ready"]
    assert ask_once(app, "/v2/models/toy/versions/02", method="GET").status == 404


def test_all_rows_of_a_request_go_to_one_version_by_the_column_of_the_first(
    app: App, challenger: ServedVersion
) -> None:
    """`Canary(key="id")`, in any protocol; the header counts before it."""
    open_canary(app, challenger, 50, key="id")
    by_id = {number: ask_once(app, PREDICT, ROW | {"id": number}).json["version"] for number in range(40)}
    assert set(by_id.values()) == {1, 2}
    for number in range(40):
        other = (number + 1) % 40
        many = ask_once(app, PREDICT, [ROW | {"id": number}, ROW | {"id": other}]).json
        csv = f"x,kind,id\n1.0,a,{number}\n".encode()
        assert many["version"] == by_id[number]
        assert ask_once(app, "/invocations", csv, headers={"content-type": "text/csv"}).json["version"] == by_id[number]
    said = {ask_once(app, PREDICT, ROW | {"id": n}, headers={"x-route-key": "one"}).json["version"] for n in range(40)}
    assert len(said) == 1


@pytest.mark.parametrize("way", ["plans", "frames", "champion as frames", "challenger as frames"])
@pytest.mark.parametrize("share", [0, 50, 100])
def test_both_predictions_are_what_the_versions_serve(
    make_app: Make, version: ServedVersion, challenger: ServedVersion, way: str, share: int
) -> None:
    """To the bit those of the versions' pipelines or plans, whoever answered; what was served is in `predictions`."""
    if way in ("frames", "champion as frames"):
        version = as_frames(version)
    if way in ("frames", "challenger as frames"):
        challenger = as_frames(challenger)
    app = make_app(version)
    open_canary(app, challenger, share)
    random = np.random.default_rng(0)
    asked = [
        {"x": random.normal(), "kind": None if number % 5 == 0 else "ab"[number % 2], "id": number}
        for number in range(20)
    ]
    served = {}
    for row in asked:
        answer = ask_once(app, PREDICT, row, headers={"x-request-id": f"r-{row['id']:02}"})
        served[f"r-{row['id']:02}"] = answer.json
    rows = compared(app, version.spec)
    assert (rows["champion"].unique().tolist(), rows["challenger"].unique().tolist()) == ([1], [2])
    assert rows["request"].tolist() == [f"r-{row['id']:02}" for row in asked]
    assert rows["served"].tolist() == [answer["alias"] for answer in served.values()]
    for each in (version, challenger):
        found = rows[f"{each.alias}_prediction"]
        assert not rows[f"{each.alias}_failed"].any()
        for position, row in enumerate(asked):
            if each.plan is not None:
                answered = each.answer_directly([row])
                assert answered is not None
                assert found[position] == answered.answers[0][0]
            else:
                frame = model_frame(pd.DataFrame([row]), each.spec.features)
                assert found[position] == pytest.approx(each.pipeline.predict(frame)[0], rel=1e-14)
            if rows["served"][position] == each.alias:
                assert found[position] == served[rows["request"][position]]["prediction"]
    log = PredictionLog(app.parts.queue.lake, version.spec).table.read(("run_id", "version", "prediction", "key"))
    log = log.sort_values("run_id", ignore_index=True)
    assert log["version"].tolist() == [answer["version"] for answer in served.values()]
    assert log["prediction"].tolist() == [answer["prediction"] for answer in served.values()]
    assert log["key"].tolist() == rows["key"].tolist()
    requests = RequestLog(app.parts.queue.lake, version.spec).table.read(("request", "route"))
    assert requests.sort_values("request")["route"].tolist() == rows["served"].tolist()
    # Both or none of them were measured; each row of plans, and one of each frame.
    measured = rows["champion_microseconds"].notna()
    assert measured.tolist() == rows["challenger_microseconds"].notna().tolist()
    assert measured.all() if way == "plans" else measured.any()
    assert (rows.loc[measured, ["champion_microseconds", "challenger_microseconds"]] > 0).all(axis=None)


def test_frames_are_compared_to_the_bit_of_trees(
    make_app: Make, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """Trees give a row one value, however many share its frame: both sides are the pipelines' own, exactly."""

    def pipeline(seed: int) -> Any:
        from sklearn.compose import ColumnTransformer
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import OrdinalEncoder

        encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
        columns = ColumnTransformer([("kind", encode, ["kind"])], remainder="passthrough")
        return Pipeline([("columns", columns), ("model", HistGradientBoostingRegressor(max_iter=5))])

    champion, challenger = (as_frames(make_version(number=n, slope=3.0 * n, pipeline=pipeline)) for n in (1, 2))
    challenger = replace(challenger, alias="challenger")
    app = make_app(champion)
    open_canary(app, challenger, 50)
    asked = make_rows(150, seed=3)[["x", "kind", "id"]].to_dict("records")
    asked[3] = asked[3] | {"x": None, "kind": None}

    async def all_at_once() -> None:
        answers = await asyncio.gather(
            *(ask(app, PREDICT, row, headers={"x-request-id": f"{row['id']:03}"}) for row in asked)
        )
        assert {answer.json["version"] for answer in answers} == {1, 2}

    asyncio.run(all_at_once())
    rows = compared(app, champion.spec)
    frame = model_frame(pd.DataFrame(asked), champion.spec.features)
    assert rows["champion_prediction"].tolist() == champion.pipeline.predict(frame).tolist()
    assert rows["challenger_prediction"].tolist() == challenger.pipeline.predict(frame).tolist()
    assert 1 <= rows["champion_microseconds"].notna().sum() <= 20


def test_a_row_that_the_challenger_cannot_predict_fails_alone(
    make_app: Make, version: ServedVersion, challenger: ServedVersion
) -> None:
    """Rows of other requests share its frame, and are predicted."""

    class Picky:
        def predict(self, rows: Any) -> Any:
            if (rows["x"] > 50).any():
                raise ValueError("too large")
            return challenger.pipeline.predict(rows)

    app = make_app(version)
    open_canary(app, replace(as_frames(challenger), pipeline=Picky()), 0)  # type: ignore[arg-type]
    for number in range(30):
        ask_once(app, PREDICT, ROW | {"x": 60.0 if number in (3, 17) else 1.0, "id": number})
    rows = compared(app, version.spec)
    ids = PredictionLog(app.parts.queue.lake, version.spec).table.read(("run_id", "id"))
    failed = set(rows.loc[rows["challenger_failed"], "request"])
    assert set(ids.loc[ids["run_id"].isin(failed), "id"]) == {"3", "17"}


def test_a_classification_has_the_probabilities_of_both(make_app: Make, make_spec: Make, make_rows: Make) -> None:
    """And its labels as text, as the prediction log has them."""
    import pandera.pandas as pa

    from evergreen.spec import Metric
    from serving.champion import make_served
    from tests.serving.conftest import fitted

    def contract() -> Any:
        columns = {"id": pa.Column(int), "x": pa.Column(float), "kind": pa.Column(str), "y": pa.Column(int)}
        return pa.DataFrameSchema(columns)

    def pipeline(_seed: int) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline

        return Pipeline([("model", LogisticRegression())])

    spec = make_spec(
        task="classification",
        contract=contract,
        time=None,
        timezone=None,
        features=Features(numeric=("x",)),
        pipeline=pipeline,
        metric=Metric(name="log_loss"),
        holdout={"strategy": "random", "min_rows": 10},
    )
    rows = make_rows(100)
    rows["y"] = (rows["y"] > 0).astype(int)
    sides = [
        make_served(spec, fitted(spec, rows.head(50 * n)), rows, number=n, sha256=f"{n}", alias=alias)
        for n, alias in ((1, "champion"), (2, "challenger"))
    ]
    app = make_app(sides[0])
    open_canary(app, sides[1], 0)
    ask_once(app, PREDICT, {"x": 0.1, "kind": "a"})
    row = compared(app, spec).iloc[0]
    for side in sides:
        shares = side.pipeline.predict_proba(pd.DataFrame({"x": [0.1]}))[0]
        assert row[f"{side.alias}_probability"] == pytest.approx(shares, rel=1e-12)
        assert row[f"{side.alias}_prediction"] == str(int(shares[1] > 0.5))


def test_a_challenger_prepares_rows_by_its_own_model_file(make_app: Make, make_version: Make) -> None:
    """It is asked what the client asked: also where `prepare` makes another row of it than the champion's does."""
    champion = make_version(prepare=lambda frame: frame.assign(x=frame["raw"]))
    challenger = replace(
        make_version(number=2, prepare=lambda frame: frame.assign(x=2 * frame["raw"])), alias="challenger"
    )
    app = make_app(champion)
    open_canary(app, challenger, 0)
    for number in range(3):
        ask_once(app, PREDICT, {"raw": float(number), "kind": "a", "id": number, "at": "2025-06-01T10:00:00Z"})
    rows = compared(app, champion.spec).sort_values("champion_prediction")
    for factor, side in ((1.0, champion), (2.0, challenger)):
        asked = pd.DataFrame({"x": [factor * number for number in range(3)], "kind": "a"})
        wanted = side.pipeline.predict(model_frame(asked, side.spec.features))
        assert rows[f"{side.alias}_prediction"].tolist() == pytest.approx(wanted.tolist(), rel=1e-12)


def test_a_commit_of_comparisons_that_fails_is_made_once(
    app: App, version: ServedVersion, challenger: ServedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After both other tables have the batch: it is tried again, and no table has it twice."""
    open_canary(app, challenger, 50)
    for _ in range(4):
        ask_once(app, PREDICT, ROW)
    queue = app.parts.queue

    def fail(*_arguments: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(ComparisonLog, "append", fail)
        queue.write()
    assert (queue.waiting, queue.counts.failures) == (4, 1)
    assert len(compared(app, version.spec)) == 4
    queue.write()
    log = PredictionLog(queue.lake, version.spec).table.read(("run_id",))
    assert (len(log), len(compared(app, version.spec)), queue.waiting) == (4, 4, 0)


def test_the_share_of_the_log_is_compared_and_nothing_else(make_app: Make, make_version: Make) -> None:
    """`Serve(log=0.5)`: what is in one table is in the others."""
    half = Serve(log=0.5)
    app = make_app(make_version(serve=half))
    challenger = replace(make_version(number=2, serve=half), alias="challenger")
    open_canary(app, challenger, 50)
    for _ in range(60):
        ask_once(app, PREDICT, ROW)
    rows = compared(app, challenger.spec)
    kept = RequestLog(app.parts.queue.lake, challenger.spec).table.read(("request",))
    assert sorted(rows["request"]) == sorted(kept["request"])
    told = ask_once(app, "/v2/models/toy", method="GET").json["parameters"]
    assert (told["rows_compared"], told["rows_not_compared"]) == (len(kept), 0)


def test_metadata_name_the_challenger(app: App, challenger: ServedVersion) -> None:
    """Its number and its share; without one there is nothing but that nothing is wrong."""
    told = ask_once(app, "/v2/models/toy", method="GET").json["parameters"]
    assert (told["challenger_problem"], "challenger" in told) == ("", False)
    open_canary(app, challenger, 25)
    told = ask_once(app, "/v2/models/toy", method="GET").json["parameters"]
    assert (told["challenger"], told["challenger_share"], told["challenger_problem"]) == (2, 25, "")
    json.dumps(told)
