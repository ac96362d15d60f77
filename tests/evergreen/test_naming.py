"""Names that leave the process are stable, and one module makes them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evergreen import naming
from evergreen.events import TRIGGER_EVENTS

PROJECT = Path(__file__).resolve().parents[2]
PRODUCT = ("evergreen", "flows", "serving", "tasks", "deployments")
MODEL = "bike_demand"

STABLE = [
    (naming.registered_model("", MODEL), "bike_demand"),
    (naming.experiment("", MODEL), "bike_demand"),
    (naming.training_run("d1"), "candidate-d1"),
    (naming.version_tag("decision_id"), "evergreen.decision_id"),
    (naming.RUN_FOLDER, "evergreen"),
    (naming.holdout_metric("mae"), "holdout_mae"),
    (naming.champion_metric("mae"), "champion_mae"),
    (naming.train_metric("mae"), "train_mae"),
    (naming.importance_metric("temp"), "importance_temp"),
    (naming.deployment("", "retrain", MODEL), "retrain-bike-demand"),
    (naming.deployment("", "reconcile"), "reconcile"),
    (naming.deployment("", "retrain", "*"), "retrain-*"),
    (naming.deployment_path("", "retrain", MODEL), "retrain/retrain-bike-demand"),
    (naming.deployment_path("", "reconcile"), "reconcile/reconcile"),
    (naming.trigger("", "retrain", MODEL, "drift"), "retrain-bike-demand-on-drift"),
    (naming.run_tags("", MODEL), ["evergreen", "bike_demand"]),
    (naming.run_tags("", MODEL, "retrain"), ["evergreen", "bike_demand", "retrain"]),
    (naming.stream_group("", MODEL), "evergreen-bike_demand"),
    (naming.stream_batch("orders", date(2026, 1, 31)), "stream-orders-2026-01-31"),
    (naming.stream_origin("orders", "m-1"), "orders#m-1"),
    (naming.TURN, "evergreen.turn"),
    (naming.tag_resource(""), "prefect.tag.evergreen"),
    (naming.model_resource("", MODEL), "evergreen.model.bike_demand"),
    (naming.model_resource("", "*"), "evergreen.model.*"),
    (naming.artifact("", "drift-report", MODEL), "drift-report-bike-demand"),
    (naming.artifact("", "reconcile"), "reconcile"),
    (naming.automation("", "drift-failed"), "evergreen: drift-failed"),
    (naming.silence_alert(MODEL), "no-drift-report-bike_demand"),
    (naming.notify_block("", 1), "evergreen-notify-1"),
    (naming.ingest_cache_key("", MODEL, "0a"), "ingest-bike_demand-0a"),
    (naming.reconcile_key("", MODEL, "d1", "first"), "reconcile-bike_demand-d1-first"),
    (naming.table("s3://bucket/lake/", MODEL, "decisions"), "s3://bucket/lake/bike_demand/decisions"),
    (naming.table("/home/lake", MODEL, "labels_waiting"), "/home/lake/bike_demand/labels_waiting"),
    (naming.redis_key("", "bikes", "17"), "bikes:17"),
    (naming.lock(MODEL, "retrain"), "bike_demand.retrain"),
    (naming.page_file(MODEL), "bike_demand.html"),
    (naming.dossier_file(MODEL, 3), "bike_demand-v3.html"),
    (naming.image_folder(MODEL, 3), "bike_demand-v3"),
    (naming.image_folder(MODEL, None), "bike_demand-champion"),
    (naming.image_tag("", MODEL, 3), "bike_demand:3"),
    (naming.image_tag("", MODEL, None), "bike_demand:champion"),
    (naming.cloud_endpoint("", MODEL), "scoring-bike-demand"),
    (naming.cloud_version("scoring-bike-demand", 3, "0a" * 32), "scoring-bike-demand-v3-0a0a0a0a"),
    (
        naming.cloud_image("host/place", "scoring-bike-demand", 3, "0a" * 32),
        "host/place/scoring-bike-demand:v3-0a0a0a0a0a0a",
    ),
    (naming.cloud_deployment(3), "version-3"),
    (naming.cloud_tags("", MODEL), {"evergreen-owner": "evergreen", "evergreen-model": "bike_demand"}),
    (naming.cloud_folder("azureml", MODEL, 3), "bike_demand-v3-azureml"),
    (naming.part_file("scores.csv"), ".scores.csv.part"),
    (naming.ports_lock("ann"), "evergreen-ports-ann.lock"),
    (naming.socket_folder(1000), "evergreen-1000"),
    (naming.TAG_PREFIX, "evergreen."),
    (naming.COMMIT_PREFIX, "evergreen."),
    (naming.tag(""), "evergreen"),
    (naming.work_pool(""), "evergreen"),
    (naming.worker("", "box", Path("/srv/evergreen")), "evergreen-up-box-d82a17"),
    (naming.automation("", ""), "evergreen: "),
    (naming.lineage_namespace(""), "evergreen"),
    (naming.DEPLOY_FOLDER_PREFIX, "evergreen-deploy-"),
    (naming.DASHBOARD_TAG, "evergreen"),
    (naming.FLEET_DASHBOARD, "evergreen-fleet"),
    (naming.MODEL_DASHBOARD, "evergreen-model"),
    (naming.PART_PREFIX, ".part-"),
]
"""What servers, registries, lakes and disks hold under these names; another name would not find it again."""


def test_names_are_what_servers_and_lakes_already_hold() -> None:
    """Every name is, to the byte, the one under which earlier versions stored."""
    assert [name for name, _ in STABLE] == [stored for _, stored in STABLE]


OWNED = {
    "registered model": lambda of, model: [naming.registered_model(of, model)],
    "experiment": lambda of, model: [naming.experiment(of, model)],
    "deployment": lambda of, model: [
        *(naming.deployment_path(of, flow, model) for flow in ("monitor", "retrain", "score")),
        *(naming.deployment_path(of, flow) for flow in ("reconcile", "canary", "backtest")),
    ],
    "automation": lambda of, model: [
        *(naming.trigger(of, "retrain", model, ground) for ground in TRIGGER_EVENTS),
        *(naming.automation(of, name) for name in ("drift-failed", naming.silence_alert(model))),
    ],
    "artifact": lambda of, model: [
        *(naming.artifact(of, kind, model) for kind in ARTIFACTS),
        naming.artifact(of, "reconcile"),
    ],
    "tag": lambda of, _model: [naming.tag(of), naming.tag_resource(of)],
    "pool": lambda of, _model: [naming.work_pool(of)],
    "resource": lambda of, model: [naming.model_resource(of, model)],
    "block": lambda of, _model: [naming.notify_block(of, number) for number in (1, 2, 11)],
    "cache": lambda of, model: [naming.ingest_cache_key(of, model, "0a")],
    "idempotency": lambda of, model: [naming.reconcile_key(of, model, "d1", "first")],
    "key": lambda of, model: [naming.redis_key(of, model, "17")],
    "group": lambda of, model: [naming.stream_group(of, model)],
    "worker": lambda of, _model: [naming.worker(of, "box", Path("/srv"))],
    "image": lambda of, model: [naming.image_tag(of, model, 3), naming.image_tag(of, model, None)],
    "cloud": lambda of, model: [naming.cloud_endpoint(of, model), str(naming.cloud_tags(of, model))],
    "lineage": lambda of, model: [f"{naming.lineage_namespace(of)}|{naming.lineage_job('retrain', model)}"],
    "table": lambda of, model: [
        naming.table(naming.place("s3://bucket/lake", of), model, name) for name in get_args(naming.Table)
    ],
}
"""What several environments share a place for, by the place; each is made for an environment and a model."""
ARTIFACTS = (
    *("drift", "drift-report", "performance", "shadow", "skew", "gates", "score", "promote", "reject", "rollback"),
    *("loss", "backtest", "backtest-report", "backtest-page", "canary", "page", "runs", "search", "scoring"),
)
WORDS = ["notify", "up", "evergreen", "model", "environment", "observations", "staging", "stag", "prod", "a", "e1"]
MODELS = st.one_of(
    st.sampled_from([*WORDS, "retrain_x", "staging_bikes"]), st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True)
)
ENVIRONMENTS = st.one_of(st.sampled_from(["", *WORDS]), st.from_regex(r"[a-z][a-z0-9]*", fullmatch=True)).filter(
    lambda name: name == "" or naming.is_environment(name)
)


@given(one=ENVIRONMENTS, other=ENVIRONMENTS, model=MODELS, another=MODELS)
def test_no_two_environments_have_a_name_in_common(one: str, other: str, model: str, another: str) -> None:
    """Whatever the models are called, what one environment has is not what another has, nor is it in its folder."""
    assume(one != other)
    for make in OWNED.values():
        mine, theirs = make(one, model), make(other, another)
        assert not set(mine) & set(theirs)
    tables = OWNED["table"](one, model), OWNED["table"](other, another)
    assert not any(a.startswith(f"{b}/") or b.startswith(f"{a}/") for a in tables[0] for b in tables[1])


@given(one=ENVIRONMENTS, other=ENVIRONMENTS, model=MODELS)
def test_what_finds_the_things_of_an_environment_finds_no_other_s(one: str, other: str, model: str) -> None:
    """Neither a wildcard, a prefix nor a pattern by which one environment finds its own matches another's."""
    assume(one != other)
    assert not fnmatchcase(naming.model_resource(other, model), naming.model_resource(one, "*"))
    for flow in ("monitor", "retrain", "score"):
        assert not fnmatchcase(naming.deployment(other, flow, model), naming.deployment(one, "retrain", "*"))
        assert not fnmatchcase(naming.trigger(other, flow, model, "drift"), naming.deployment(one, "retrain", "*"))
    assert naming.automation_of(one, naming.automation(other, "drift-failed")) is None
    assert naming.automation_of(one, naming.automation(one, "drift-failed")) == "drift-failed"
    assert naming.model_of(one, naming.registered_model(other, model)) is None
    assert naming.model_of(one, naming.registered_model(one, model)) == model
    assert not naming.is_notify_block(one, naming.notify_block(other, 1))
    assert naming.is_notify_block(one, naming.notify_block(one, 11))


@pytest.mark.parametrize(
    "name", ["", "Prod", "prod-eu", "prod_eu", "1prod", "prod ", "retrain", "score", "pröd", "*", "nameless"]
)
def test_what_no_environment_may_be_called(name: str) -> None:
    """A name with a dash, of other letters, or one that names without an environment begin with is none."""
    assert not naming.is_environment(name)


def test_whose_a_run_is() -> None:
    """Its tag says so, and nothing else does: a model may be called as it likes."""
    assert naming.other_owner("staging", ["evergreen-staging", "evergreen", "retrain"]) is None
    assert naming.other_owner("staging", ["evergreen", "iris"]) == "evergreen"
    assert naming.other_owner("", ["evergreen-prod"]) == "evergreen-prod"
    for none in ([], ["nightly", "evergreen_like", "my-evergreen"]):
        assert naming.other_owner("", none) is None


def test_no_name_without_an_environment_begins_as_one_with() -> None:
    """Every flow and every kind of artifact begins with a word that no environment may have."""
    flows = {file.stem for file in (PROJECT / "flows").glob("*.py")} - {"__init__", "accept_loss"}
    assert {name.partition("-")[0] for name in (*flows, *ARTIFACTS)} <= naming.RESERVED


@given(environment=ENVIRONMENTS, model=MODELS, another=MODELS)
def test_a_name_in_a_cloud_is_one_that_each_of_them_takes(environment: str, model: str, another: str) -> None:
    """SageMaker's, Azure ML's and Vertex AI's rules, for the longest names, too; two models have two."""
    endpoint = naming.cloud_endpoint(environment, model)
    assert re.fullmatch(r"[a-z](-?[a-z0-9]){2,31}", endpoint) and len(endpoint) <= 32
    assert (endpoint == naming.cloud_endpoint(environment, another)) is (model == another)
    version = naming.cloud_version(endpoint, 999_999, "0123456789abcdef")
    assert len(version) <= 63 and naming.is_cloud_version(endpoint, version)
    assert not naming.is_cloud_version(f"{endpoint}x", version) and not naming.is_cloud_version(endpoint[:-1], version)
    for key, value in naming.cloud_tags(environment, model, 3).items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) and re.fullmatch(r"[a-z0-9_-]{0,63}", value)


@pytest.mark.parametrize("kind", ["search", "scoring", "drift", "drift-report"])
def test_the_key_of_an_artifact_has_no_underscore(kind: str) -> None:
    """Prefect refuses an artifact's key with an underscore."""
    assert "_" not in naming.artifact("", kind, MODEL)


# What looks like one of our names and is none, by file: text that is part of something else.
ALLOWED = {
    "evergreen/events.py": r"evergreen\.(drift|performance|skew|shadow|data|retrain|model|canary|rehearsal)(\..*)?",
    "evergreen/sources/base.py": r"\.part",
    "evergreen/storage/locks.py": r"\{\}\.(lock|holder)",
    "evergreen/model_files/policy_edit.py": r"evergreen(\.spec)?",
    "evergreen/model_files/first_rows.py": r"evergreen\.sources|\{\}_SQL_URL",
    "evergreen/model_files/new.py": r"\{\}\.py",
    "evergreen/model_files/recipe.py": r"evergreen(\.spec|\.sources)?|\{\}\.py",
    "evergreen/maintenance/backup_manifest.py": r"evergreen",
    "evergreen/maintenance/rebuild.py": r"(models/)?\{\}\.py",
    "evergreen/storage/database_template.py": r"evergreen",
    "evergreen/pages/dossier.py": r"evergreen\.pages",
    "evergreen/pages/links.py": r".*/#/models/\{\}/versions/\{\}|/report/\{\}/\{\}|\{\}/\{\}",
    "deployments/stack/loop_monitor.py": r"evergreen",
    "evergreen/runs/loop_facts.py": r"\{\}\.py",
    "deployments/cli/doctor_checks.py": r"evergreen",
    "deployments/cli/new.py": r"\.html",
    "deployments/production/clouds/target.py": r"/invocations",
    "deployments/production/image.py": r"evergreen(-\{\}\.dist-info)?",
    "evergreen/runs/lineage_events.py": r"evergreen",
    "serving/app.py": r"/invocations",
    "serving/description.py": r"/invocations",
    "serving/server.py": r"evergreen",
    "serving/protocols/open_inference.py": r"evergreen",
}
_OURS = re.compile(r"(prefect\.tag\.)?evergreen([.:_-].*)?", re.DOTALL)
_MODEL = re.compile(r"(\w+\.)*(model|spec\.name)")


def _pieces(path: Path) -> frozenset[str]:
    """The fixed parts of the names that `naming` builds, such as `holdout_`, and its constants."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    parts = [part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values]
    parts += [node.value for node in nodes if isinstance(node, ast.Assign)]
    texts = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    return frozenset(text for text in texts if re.search(r"[a-z]{2}", text))


def _texts(tree: ast.Module) -> Iterator[tuple[int, str, tuple[str, ...], bool]]:
    """Each text with its line, its fixed parts, and whether a model's name is put into it; docstrings left out."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            fixed = tuple(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            values = [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
            shape = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, shape, fixed, any(_MODEL.fullmatch(value) for value in values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | inside):
            yield node.lineno, node.value, (node.value,), False


def _violations(root: Path) -> list[str]:
    """Where a module other than `naming` builds a name: its own prefix, a model's name, or a part of a known name."""
    pieces = _pieces(root / "evergreen" / "naming.py")
    found = []
    for path in sorted(file for folder in PRODUCT for file in (root / folder).rglob("*.py")):
        place = path.relative_to(root).as_posix()
        allowed = re.compile(ALLOWED.get(place, r"(?!)"))
        for line, shape, fixed, names_model in _texts(ast.parse(path.read_text())) if path.name != "naming.py" else ():
            if allowed.fullmatch(shape) or re.search(r"\s", shape.removeprefix(naming.automation("", ""))):
                continue
            if _OURS.fullmatch(shape) or names_model or pieces & set(fixed):
                found.append(f"{place}:{line}: {shape!r}")
    for path in sorted(root.glob("evergreen/**/*.j2")):
        for number, text in enumerate(path.read_text().splitlines(), start=1):
            if pieces & set(re.findall(r'"([^"]*)"', text)):
                found.append(f"{path.relative_to(root).as_posix()}:{number}: {text.strip()}")
    return found


def test_no_other_module_builds_a_name() -> None:
    """Names that leave the process are made in `evergreen.naming` alone."""
    assert _violations(PROJECT) == []


@pytest.mark.parametrize(
    "line",
    [
        'key = f"drift-{model}"',
        'name = f"{spec.name}.lock"',
        'name = f"prod:{self.spec.name}"',
        'metric = f"holdout_{wanted}"',
        'run = f"candidate-{decision}"',
        'trigger = f"{deployment}-on-{ground}"',
        'tags = ["evergreen", "retrain"]',
        'tag = "evergreen." + "decision_id"',
        'pool = "evergreen-pool"',
        'automation = f"evergreen: {short}"',
        'resource = {"prefect.resource.id": "prefect.tag.evergreen"}',
        'part = f".part-{token}"',
    ],
)
def test_a_planted_name_is_found(tmp_path: Path, line: str) -> None:
    """A module that builds a name by itself is refused, by file and line; help texts and paths are not names."""
    (tmp_path / "evergreen").mkdir()
    (tmp_path / "evergreen" / "naming.py").write_text((PROJECT / "evergreen" / "naming.py").read_text())
    planted = tmp_path / "tasks" / "planted.py"
    planted.parent.mkdir()
    harmless = '"""evergreen-like text."""\nfix = f"Run: evergreen retrain {model}"\nhome = ".evergreen"\n'
    planted.write_text(f"{harmless}{line}\n")
    assert [text.partition(": ")[0] for text in _violations(tmp_path)] == ["tasks/planted.py:4"]


def test_a_name_planted_in_a_template_is_found(tmp_path: Path) -> None:
    """A template that puts a name together is refused like a module."""
    templates = tmp_path / "evergreen" / "reports"
    templates.mkdir(parents=True)
    (tmp_path / "evergreen" / "naming.py").write_text((PROJECT / "evergreen" / "naming.py").read_text())
    (templates / "card.md.j2").write_text('# A card\n{{ measured["train_" ~ metric] }}\n')
    assert [text.partition(": ")[0] for text in _violations(tmp_path)] == ["evergreen/reports/card.md.j2:2"]
