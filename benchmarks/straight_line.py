"""What `evergreen retrain bike_demand` is measured against: the same calls of the same libraries, one after another.

No Prefect, no caching, no retries, no locks, no recovery, no flow. It goes from the same prepared state folder to the
same end: the new file landed, drift reported, a candidate searched, fitted, stored, registered, judged and promoted,
everything written to the ledgers. The benchmark holds both to the same metric, the same comparison with the champion
and the same drift scores, so neither does less than the other. `python -m benchmarks.straight_line HOME CSV`
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from pathlib import Path
from urllib.parse import urlparse

CLOCK = time.perf_counter()
STEPS: dict[str, float] = {}


def took(step: str) -> None:
    """Book the time since the last call under a name."""
    global CLOCK  # noqa: PLW0603 - the one variable of a script
    now = time.perf_counter()
    STEPS[step] = STEPS.get(step, 0.0) + now - CLOCK
    CLOCK = now


import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

took("import pandas")
import pyarrow as pa  # noqa: E402
import pyarrow.dataset as ds  # noqa: E402
from deltalake import CommitProperties, DeltaTable, write_deltalake  # noqa: E402

took("import deltalake, pyarrow")
import pandera.pandas  # noqa: E402, F401

from models.bike_demand import FEATURES, MODEL, WEATHER, contract, pipeline, prepare  # noqa: E402

took("import pandera")
import sklearn.metrics  # noqa: E402
import sklearn.model_selection  # noqa: E402
import skops.io  # noqa: E402
from scipy.special import ndtr, stdtrit  # noqa: E402
from sklearn.dummy import DummyRegressor  # noqa: E402

took("import scikit-learn, skops")
warnings.filterwarnings("ignore")
from evidently import DataDefinition, Dataset, Report  # noqa: E402
from evidently.metrics import MissingValueCount, ValueDrift  # noqa: E402
from evidently.tests import lte  # noqa: E402

took("import evidently")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
import mlflow  # noqa: E402
import mlflow.sklearn  # noqa: E402
from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, Schema  # noqa: E402

took("import mlflow")

HOME, CSV = Path(sys.argv[1]), Path(sys.argv[2])
NAME, TARGET, TRUSTED = MODEL.name, MODEL.target, list(MODEL.trusted)
LAKE = HOME / "lake" / NAME
NOW = pd.Timestamp.now("UTC").as_unit("us")


def sha256(path: Path) -> str:
    """Of a file, or of the files of a folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(path).as_posix()}:{sha256(file)}" for file in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def features(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float64, categories as text."""
    numbers = {name: frame[name].astype("float64") for name in FEATURES.numeric}
    return pd.DataFrame(numbers | {name: frame[name].astype("str") for name in FEATURES.categorical})


def read(where: ds.Expression) -> pd.DataFrame:
    """Observations in time order."""
    rows = DeltaTable(LAKE / "observations").to_pyarrow_dataset().to_table(filter=where).to_pandas()
    return rows.sort_values(["at", "_row"], kind="stable", ignore_index=True)


def append(table: str, rows: pd.DataFrame) -> None:
    """One commit to a ledger."""
    held = DeltaTable(LAKE / table)
    schema = pa.schema(held.schema())
    data = pa.Table.from_pandas(rows.reindex(columns=schema.names), schema=schema, preserve_index=False)
    write_deltalake(held, data, mode="append", commit_properties=CommitProperties(custom_metadata={"by": "script"}))


# ---- ingest: read, hold to the contract, append what is not there yet
digest = sha256(CSV)
raw = prepare(pd.read_csv(CSV))
raw["at"] = (
    raw["at"].dt.tz_localize(MODEL.timezone, ambiguous=True, nonexistent="NaT").dt.tz_convert("UTC").dt.as_unit("us")
)
raw = raw[list(contract().columns)].astype({TARGET: "float64"} | dict.fromkeys(WEATHER, "float64"))
new = contract().validate(raw[raw["at"].notna()], lazy=True)
known = DeltaTable(LAKE / "observations")
before = known.to_pyarrow_dataset().to_table(columns=["date", "hr", "_row"]).to_pandas()
there = pd.MultiIndex.from_frame(new[["date", "hr"]]).isin(pd.MultiIndex.from_frame(before[["date", "hr"]]))
new = new[~there].assign(_batch=digest, _origin=CSV.name, _landed_at=NOW, _labelled_at=None)
new["_row"] = np.arange(before["_row"].max() + 1, before["_row"].max() + 1 + len(new))
content = hashlib.sha256(pd.util.hash_pandas_object(new, index=False).to_numpy().tobytes()).hexdigest()
append("observations", new)
took("ingest")

# ---- the champion
uri = f"sqlite:///{HOME / 'mlflow.db'}"
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
champion = client.get_model_version_by_alias(NAME, "champion")


def folder_of(version: mlflow.entities.model_registry.ModelVersion) -> tuple[Path, Path]:
    """Where a version's model and its other files are."""
    model = client.get_logged_model(version.model_id or version.tags["evergreen.model_id"])
    run = client.get_run(version.run_id)
    return Path(urlparse(model.artifact_location).path), Path(urlparse(run.info.artifact_uri).path) / "evergreen"


def loaded(version: mlflow.entities.model_registry.ModelVersion) -> object:
    """Its pipeline, the hash checked first."""
    model, files = folder_of(version)
    assert sha256(model / "model.skops") == version.tags["evergreen.sha256"]
    assert sha256(files) == version.tags["evergreen.files_sha256"]
    return skops.io.load(model / "model.skops", trusted=TRUSTED)


def judged_fit(version: mlflow.entities.model_registry.ModelVersion) -> object:
    """The fit that was judged, its hash checked first."""
    file = folder_of(version)[1] / "judged.skops"
    assert sha256(file) == version.tags["evergreen.judged_sha256"]
    return skops.io.load(file, trusted=TRUSTED)


rival = loaded(champion)
took("champion")

# ---- drift: its reference against the last four weeks, in deciles of the reference
end = pd.Timestamp(champion.tags["evergreen.data_end"])
newest = pd.Timestamp(
    DeltaTable(LAKE / "observations").to_pyarrow_dataset().to_table(columns=["at"])["at"].to_pandas().max()
)
current = read((ds.field("at") >= newest - MODEL.drift.last) & (ds.field("at") > end))
reference = pd.read_parquet(folder_of(champion)[1] / "reference.parquet")
sides = [frame.assign(prediction=rival.predict(features(frame))) for frame in (reference, current)]
cells: list[dict[str, pd.Series]] = [{}, {}]
for name in (*WEATHER, "prediction"):
    edges = np.unique(np.quantile(sides[0][name], np.arange(1, 10) / 10, method="lower"))
    names = np.array([f"{place:02}" for place in range(len(edges) + 1)], dtype=object)
    for side in (0, 1):
        cells[side][name] = pd.Series(names[np.searchsorted(edges, sides[side][name], side="left")], dtype="str")
for side in (0, 1):
    cells[side]["weathersit"] = sides[side]["weathersit"].astype("str").reset_index(drop=True)
asked = [
    metric
    for name in cells[0]
    for metric in (
        ValueDrift(column=name, method="psi", threshold=MODEL.drift.threshold, tests=[lte(MODEL.drift.threshold)]),
        MissingValueCount(column=name, share_tests=[lte(MODEL.drift.missing)]),
    )
]
definition = DataDefinition(categorical_columns=list(cells[0]))
old_set, new_set = (Dataset.from_pandas(pd.DataFrame(held), data_definition=definition) for held in cells)
report = Report(asked, include_tests=True).run(new_set, old_set)
scores = {
    metric["config"]["column"]: float(metric["value"])
    for metric in report.dict()["metrics"]
    if metric["config"]["type"].endswith(":ValueDrift")
}
decision = uuid.uuid4().hex[:16]
(HOME / "reports" / NAME / decision).mkdir(parents=True)
page = HOME / "reports" / NAME / decision / "report.html"
report.save_html(str(page))
report.save_json(str(page.with_suffix(".json")))
took("detect")

# ---- split and fit: four combinations on three folds, one fit on all training rows, and one on all rows of the window
window = read(ds.field("at") >= newest - MODEL.training.last)
held_out = ((window["at"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(MODEL.holdout.block)) % MODEL.holdout.every == 0
held_out &= window["at"] > window["at"].max() - MODEL.holdout.recent
train, holdout = window[~held_out].reset_index(drop=True), window[held_out].reset_index(drop=True)
x, y = features(train), train[TARGET].to_numpy()
best: tuple[float, dict[str, object]] = (np.inf, {})
tried = {}
for choice in sklearn.model_selection.ParameterGrid({key: list(held) for key, held in MODEL.search.grid.items()}):
    errors = []
    for fitted_on, judged_on in sklearn.model_selection.TimeSeriesSplit(n_splits=MODEL.search.folds).split(x):
        attempt = pipeline(MODEL.seed).set_params(**choice).fit(x.iloc[fitted_on], y[fitted_on])
        errors.append(sklearn.metrics.mean_absolute_error(y[judged_on], attempt.predict(x.iloc[judged_on])))
    tried[str(choice)] = float(np.mean(errors))
    if np.mean(errors) < best[0]:
        best = (float(np.mean(errors)), choice)
fitted = pipeline(MODEL.seed).set_params(**best[1]).fit(x, y)
train_mae = sklearn.metrics.mean_absolute_error(y, fitted.predict(x))
deployed = pipeline(MODEL.seed).set_params(**best[1]).fit(features(window), window[TARGET].to_numpy())
took("fit")

# ---- store: the model with explicit requirements, and what later runs need beside it
git = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain"]]
commit, dirty = (subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() for words in git)
columns = [
    *[ColSpec("double", name) for name in FEATURES.numeric],
    *[ColSpec("string", name) for name in FEATURES.categorical],
]
signature = ModelSignature(inputs=Schema(columns), outputs=Schema([ColSpec("double")]))
tags = {"decision_id": decision, "reason": "manual", "data_digest": content, "data_end": newest.isoformat()}
tags |= {
    "git_commit": commit,
    "git_dirty": str(bool(dirty)),
    "compared_with": str(champion.version),
    "seed": str(MODEL.seed),
}
tags = {f"evergreen.{key}": value for key, value in tags.items()}
packages = [f"{module.__name__}=={module.__version__}" for module in (pd, np, sklearn, skops)]
for pipe in (fitted, deployed):
    assert not set(skops.io.get_untrusted_types(data=skops.io.dumps(pipe))) - set(TRUSTED)
experiment = client.get_experiment_by_name(NAME)
with (
    tempfile.TemporaryDirectory() as place,
    mlflow.start_run(experiment_id=experiment.experiment_id, run_name=f"candidate-{decision}", tags=tags) as run,
):
    logged = mlflow.sklearn.log_model(
        deployed, name="model", signature=signature, pip_requirements=packages, skops_trusted_types=TRUSTED
    )
    mlflow.log_params({key: str(value) for key, value in best[1].items()})
    mlflow.log_metrics({"train_mae": train_mae, "train_rows": float(len(train))})
    stored = Path(place) / "evergreen"
    stored.mkdir()
    window.to_parquet(stored / "reference.parquet", index=False)
    for learned, file in ((train, "trained_rows.parquet"), (window, "deployed_rows.parquet")):
        ids = pd.util.hash_pandas_object(learned[["date", "hr"]], index=False)
        pd.DataFrame({"id": ids}).to_parquet(stored / file, index=False)
    probe = window.tail(200).reset_index(drop=True)
    probes = [probe.assign(_prediction=pipe.predict(features(probe))) for pipe in (deployed, fitted)]
    for rows, file in zip(probes, ("probe.parquet", "judged_probe.parquet"), strict=True):
        rows.to_parquet(stored / file, index=False)
    skops.io.dump(fitted, stored / "judged.skops")
    judged_sha256 = sha256(stored / "judged.skops")
    (stored / "profile.json").write_text(x.describe(include="all").to_json())
    (stored / "search.json").write_text(json.dumps(tried))
    client.log_artifacts(run.info.run_id, str(stored), "evergreen")
    files_sha256 = sha256(stored)
    source = json.dumps({"uri": str(LAKE / "observations")})
    dataset = mlflow.entities.Dataset(name=NAME, digest=content[:32], source_type="delta_table", source=source)
    client.log_inputs(run.info.run_id, [mlflow.entities.DatasetInput(dataset, [])])
took("log model")

# ---- register
model_folder = Path(urlparse(client.get_logged_model(logged.model_id).artifact_location).path)
tags |= {"evergreen.sha256": sha256(model_folder / "model.skops"), "evergreen.files_sha256": files_sha256}
tags |= {
    "evergreen.judged_sha256": judged_sha256,
    "evergreen.model_id": logged.model_id,
    "model_validation_status": "PENDING",
}
version = client.create_model_version(
    NAME,
    f"models:/{logged.model_id}",
    run_id=run.info.run_id,
    model_id=logged.model_id,
    tags=tags,
    await_creation_for=0,
)
version = client.get_model_version(NAME, version.version)
took("register")

# ---- gates: load the candidate again, compare it pair by pair on rows that neither was trained on
candidate, judged = loaded(version), judged_fit(version)
for pipe, probed in zip((candidate, judged), probes, strict=True):
    assert (pipe.predict(features(probed)) == probed["_prediction"]).all()
truth, rows = holdout[TARGET].to_numpy(), features(holdout)
mine, theirs = judged.predict(rows), judged_fit(champion).predict(rows)
assert np.isfinite(candidate.predict(rows)).all()
dummy = DummyRegressor(strategy="median").fit(np.zeros((len(y), 1)), y).predict(np.zeros((len(rows), 1)))
for pipe in (candidate, judged):
    sklearn.metrics.mean_absolute_error(y, pipe.predict(x))
days = (holdout["at"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(days=1)


def bootstrap(where: np.ndarray, other: np.ndarray, margin: float = 0.0) -> tuple[float, float]:
    """The interval of the improvement in MAE over another model, days drawn whole; with a margin, moved back by it."""
    group = np.unique(days[where], return_inverse=True)[1]
    count = int(group.max()) + 1
    losses = [np.bincount(group, weights=np.abs(truth - given)[where], minlength=count) for given in (mine, other)]
    random = np.random.default_rng(MODEL.seed)
    picks = random.integers(count, size=(1000, count)) + np.arange(1000)[:, None] * count
    drawn = np.bincount(picks.ravel(), minlength=1000 * count).reshape(1000, count).astype(np.float64)
    totals = drawn @ np.stack([*losses, np.bincount(group, minlength=count)], axis=1)
    gains = ((1 + margin) * totals[:, 1] - totals[:, 0]) / totals[:, 2]
    tail = float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, MODEL.gates.level / 2)))
    low, high = np.quantile(gains, [tail, 1 - tail])
    moved = margin * losses[1].sum() / where.sum()
    return float(low - moved), float(high - moved)


everywhere = np.ones(len(truth), dtype=bool)
bootstrap(everywhere, dummy)
margin = MODEL.gates.routine_margin
assert margin is not None
interval = bootstrap(everywhere, theirs, margin)
counts = window.drop_duplicates("at").set_index("at")[TARGET]
for hours in (1, 24 * 7):
    repeated = counts.reindex(holdout["at"] - pd.Timedelta(hours=hours)).fillna(float(np.median(y)))
    bootstrap(everywhere, repeated.to_numpy())
for column in MODEL.slices:
    for value in holdout[column].unique():
        where = (holdout[column] == value).to_numpy()
        if where.sum() >= MODEL.gates.slice_min_rows:
            bootstrap(where, theirs)
for _ in range(8):
    candidate.predict(features(window.tail(1)))
mae = float(sklearn.metrics.mean_absolute_error(truth, mine))
rival_mae = float(sklearn.metrics.mean_absolute_error(truth, theirs))
assert interval[0] > -margin * rival_mae, "the benchmark's data let the candidate win"
client.log_metric(run.info.run_id, "holdout_mae", mae)
client.log_metric(run.info.run_id, "champion_mae", rival_mae)
client.log_artifact(run.info.run_id, str(page), "drift")
client.update_model_version(NAME, version.version, f"MAE {mae:.4g} against {rival_mae:.4g}, interval {interval}")
for key, value in {
    "evergreen.holdout_rows": str(len(truth)),
    "evergreen.checks": json.dumps({"champion": "PASS"}),
    "evergreen.holdout_mae": repr(mae),
    "evergreen.champion_mae": repr(rival_mae),
    "model_validation_status": "PASSED",
}.items():
    client.set_model_version_tag(NAME, version.version, key, value)
took("gate")

# ---- promote, and keep the ledgers
client.set_registered_model_alias(NAME, "challenger", version.version)
loaded(version)
judged_fit(version)
move = {"id": decision, "at": NOW, "action": "promote", "before": int(champion.version), "after": int(version.version)}
append("promotions", pd.DataFrame([move | {"phase": "intent", "reason": "manual", "by": "script"}]))
client.set_registered_model_alias(NAME, "previous", champion.version)
client.set_registered_model_alias(NAME, "champion", version.version)
assert client.get_model_version_by_alias(NAME, "champion").version == version.version
client.delete_registered_model_alias(NAME, "challenger")
append("promotions", pd.DataFrame([move | {"phase": "done", "reason": "manual", "by": "script"}]))
took("promote")
ledger = {
    "id": decision,
    "at": NOW,
    "champion": int(champion.version),
    "snapshot": 1,
    "digest": content,
    "flow_run": "",
}
drifted = [{"decision_id": decision, "at": NOW, "column": name, "score": score} for name, score in scores.items()]
write_deltalake(LAKE / "drift", pa.Table.from_pandas(pd.DataFrame(drifted), preserve_index=False), mode="append")
append("decisions", pd.DataFrame([ledger | {"kind": "drift", "outcome": "FAIL", "detail": json.dumps(scores)}]))
append(
    "decisions", pd.DataFrame([ledger | {"kind": "retrain", "outcome": "promoted", "detail": json.dumps({"mae": mae})}])
)
took("ledgers")
print(json.dumps({"mae": mae, "champion_mae": rival_mae, "interval": interval, "scores": scores, "steps": STEPS}))
