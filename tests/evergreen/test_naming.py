"""Names that leave the process are stable, and one module makes them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from evergreen import naming

PROJECT = Path(__file__).resolve().parents[2]
PRODUCT = ("evergreen", "flows", "serving", "tasks", "deployments")
MODEL = "bike_demand"

STABLE = [
    (naming.registered_model(MODEL), "bike_demand"),
    (naming.experiment(MODEL), "bike_demand"),
    (naming.training_run("d1"), "candidate-d1"),
    (naming.version_tag("decision_id"), "evergreen.decision_id"),
    (naming.RUN_FOLDER, "evergreen"),
    (naming.holdout_metric("mae"), "holdout_mae"),
    (naming.champion_metric("mae"), "champion_mae"),
    (naming.train_metric("mae"), "train_mae"),
    (naming.importance_metric("temp"), "importance_temp"),
    (naming.deployment("retrain", MODEL), "retrain-bike-demand"),
    (naming.deployment("reconcile"), "reconcile"),
    (naming.deployment("retrain", "*"), "retrain-*"),
    (naming.deployment_path("retrain", MODEL), "retrain/retrain-bike-demand"),
    (naming.deployment_path("reconcile"), "reconcile/reconcile"),
    (naming.trigger("retrain", MODEL, "drift"), "retrain-bike-demand-on-drift"),
    (naming.run_tags(MODEL), ["evergreen", "bike_demand"]),
    (naming.run_tags(MODEL, "retrain"), ["evergreen", "bike_demand", "retrain"]),
    (naming.stream_group(MODEL), "evergreen-bike_demand"),
    (naming.stream_batch("orders", date(2026, 1, 31)), "stream-orders-2026-01-31"),
    (naming.stream_origin("orders", "m-1"), "orders#m-1"),
    (naming.TURN, "evergreen.turn"),
    (naming.tag_resource(), "prefect.tag.evergreen"),
    (naming.model_resource(MODEL), "evergreen.model.bike_demand"),
    (naming.model_resource("*"), "evergreen.model.*"),
    (naming.artifact("drift-report", MODEL), "drift-report-bike-demand"),
    (naming.artifact("reconcile"), "reconcile"),
    (naming.automation("drift-failed"), "evergreen: drift-failed"),
    (naming.silence_alert(MODEL), "no-drift-report-bike_demand"),
    (naming.notify_block(1), "evergreen-notify-1"),
    (naming.ingest_cache_key(MODEL, "0a"), "ingest-bike_demand-0a"),
    (naming.reconcile_key(MODEL, "d1", "first"), "reconcile-bike_demand-d1-first"),
    (naming.table("s3://bucket/lake/", MODEL, "decisions"), "s3://bucket/lake/bike_demand/decisions"),
    (naming.table("/home/lake", MODEL, "labels_waiting"), "/home/lake/bike_demand/labels_waiting"),
    (naming.redis_key("bikes", "17"), "bikes:17"),
    (naming.lock(MODEL, "retrain"), "bike_demand.retrain"),
    (naming.page_file(MODEL), "bike_demand.html"),
    (naming.dossier_file(MODEL, 3), "bike_demand-v3.html"),
    (naming.image_folder(MODEL, 3), "bike_demand-v3"),
    (naming.image_folder(MODEL, None), "bike_demand-champion"),
    (naming.image_tag(MODEL, 3), "bike_demand:3"),
    (naming.image_tag(MODEL, None), "bike_demand:champion"),
    (naming.part_file("scores.csv"), ".scores.csv.part"),
    (naming.ports_lock("ann"), "evergreen-ports-ann.lock"),
    (naming.socket_folder(1000), "evergreen-1000"),
    (naming.TAG_PREFIX, "evergreen."),
    (naming.COMMIT_PREFIX, "evergreen."),
    (naming.PREFECT_TAG, "evergreen"),
    (naming.WORK_POOL, "evergreen"),
    (naming.worker("box", Path("/srv/evergreen")), "evergreen-up-box-d82a17"),
    (naming.AUTOMATION_PREFIX, "evergreen: "),
    (naming.NOTIFY_BLOCK_PREFIX, "evergreen-notify-"),
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


@pytest.mark.parametrize("kind", ["search", "scoring", "drift", "drift-report"])
def test_the_key_of_an_artifact_has_no_underscore(kind: str) -> None:
    """Prefect refuses an artifact's key with an underscore."""
    assert "_" not in naming.artifact(kind, MODEL)


# What looks like one of our names and is none, by file: text that is part of something else.
ALLOWED = {
    "evergreen/events.py": r"evergreen\.(drift|performance|skew|shadow|data|retrain|model|canary|rehearsal)(\..*)?",
    "evergreen/sources/base.py": r"\.part",
    "evergreen/storage/locks.py": r"\{\}\.(lock|holder)",
    "evergreen/model_files/policy_edit.py": r"evergreen(\.spec)?",
    "evergreen/model_files/first_rows.py": r"evergreen\.sources|\{\}_SQL_URL",
    "evergreen/model_files/new.py": r"\{\}\.py",
    "evergreen/model_files/recipe.py": r"evergreen(\.spec|\.sources)?|\{\}\.py",
    "evergreen/maintenance/rebuild.py": r"(models/)?\{\}\.py",
    "evergreen/storage/database_template.py": r"evergreen",
    "evergreen/pages/dossier.py": r"evergreen\.pages",
    "evergreen/pages/links.py": r".*/#/models/\{\}/versions/\{\}|/report/\{\}/\{\}|\{\}/\{\}",
    "deployments/stack/loop_monitor.py": r"evergreen",
    "evergreen/runs/loop_facts.py": r"\{\}\.py",
    "deployments/cli/doctor_checks.py": r"evergreen",
    "deployments/cli/new.py": r"\.html",
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
            if allowed.fullmatch(shape) or re.search(r"\s", shape.removeprefix(naming.AUTOMATION_PREFIX)):
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
