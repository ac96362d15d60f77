"""The compose file and the project's Dockerfile: valid, without a secret, and in step with what the project has.

What the containers do together is tests/live/test_compose.py; the image is test_project_image.py.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from deployments.cli.main import app
from deployments.production.requirements import image_requirements
from deployments.stack.services import SERVER, Ports
from deployments.stack.services import environment as service_environment
from evergreen.errors import EvergreenError
from evergreen.registry.lineage import BUILT_FROM
from evergreen.settings import Settings
from tests.deployments.production.compose_file import (
    COMPOSE,
    FOLDER,
    PROJECT,
    asked_for,
    example,
    fill,
    read,
    services,
    written_out,
)
from tests.deployments.production.test_pipelines import YAMLLINT, require_tool

DOCKERFILE = FOLDER / "Dockerfile"
FILLED = {name: f"planted{number}" for number, name in enumerate(example())} | {"DOMAIN": "example.org"}
ONCE = {"prefect-database", "mlflow-database", "deployments"}


def test_the_example_is_what_the_file_asks_for() -> None:
    """What is asked for is in the example, nothing else is, and what is to be filled in has no value there."""
    text = COMPOSE.read_text()
    named = set(re.findall(r"\$\{(\w+)", text))
    assert set(example()) == named
    assert {name for name, value in example().items() if not value} == asked_for(text)
    assert len(services(FILLED)) == len(read()["services"])
    for name in asked_for(text):
        with pytest.raises(KeyError, match=name):
            fill(read(), FILLED | {name: ""})


def test_no_secret_is_in_it() -> None:
    """Passwords are asked for by name; one that is written out is found, wherever it is planted."""
    assert list(written_out(read())) == []
    text = COMPOSE.read_text()
    for there, planted, where in (
        ("${MLFLOW_ADMIN_PASSWORD:?}", "planted", "mlflow: MLFLOW_AUTH_ADMIN_PASSWORD"),
        ("requirepass $$REDIS_PASSWORD", "requirepass planted", "redis: "),
        ("asyncpg://prefect@", "asyncpg://prefect:planted@", "prefect: PREFECT_SERVER_DATABASE_CONNECTION_URL"),
        ("psycopg://mlflow@", "psycopg://mlflow:planted@", "mlflow: --backend-store-uri"),
    ):
        assert there in text
        found = list(written_out(read(text.replace(there, planted))))
        assert any(each.startswith(where) for each in found), where


def test_only_the_proxy_is_reached_from_outside() -> None:
    """Nobody else has a port of the machine, and the databases have no way out."""
    document = read()
    assert [name for name, each in document["services"].items() if "ports" in each] == ["proxy"]
    assert document["networks"]["data"] == {"internal": True}
    assert all(set(each["networks"]) <= set(document["networks"]) for each in document["services"].values())
    assert document["services"]["postgres"]["networks"] == document["services"]["redis"]["networks"] == ["data"]


def test_every_container_is_held_in_bounds() -> None:
    """A tag, limits, no right of root, nothing to write but volumes; started again, unless it is done; with a check."""
    document = read()
    for name, each in document["services"].items():
        tag = each["image"].rpartition(":")[2]
        assert "TAG:?" in each["image"] or re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-alpine)?", tag), name
        assert set(each["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert (each["read_only"], each["cap_drop"]) == (True, ["ALL"]), name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert each["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        # prefect-services listens nowhere.
        assert ("healthcheck" in each) == (name not in {*ONCE, "prefect-services"}), name
        for other, how in each.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how == {"condition": wanted}, f"{name}: {other}"


def test_what_is_mounted_is_there_or_is_a_secret() -> None:
    """A file of the project is mounted read-only; secrets are in a folder that neither git nor an image gets."""
    document = read()
    for name, each in document["services"].items():
        for place in each.get("volumes", ()):
            source, _, how = place.partition(":")
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists(), name
                assert how.endswith(":ro"), name
            else:
                assert source in document["volumes"]
        assert set(each.get("secrets", ())) <= set(document["secrets"])
    assert {Path(each["file"]).parent.name for each in document["secrets"].values()} == {"secrets"}
    for ignored in (".gitignore", ".dockerignore"):
        text = (PROJECT / ignored).read_text()
        assert all(any(word in line for line in text.splitlines()) for word in ("secrets", "sources.env", ".env"))


def test_every_setting_exists() -> None:
    """Of EVERGREEN_ variables in the compose file, its example and the Dockerfile."""
    known = {f"EVERGREEN_{name.upper()}" for name in Settings.model_fields} | {BUILT_FROM}
    text = "".join(file.read_text() for file in (COMPOSE, FOLDER / "compose.env.example", DOCKERFILE))
    found = set(re.findall(r"\bEVERGREEN_[A-Z_]+\b", text))
    assert found <= known
    assert {"EVERGREEN_LAKE", "EVERGREEN_PAGES", BUILT_FROM} <= found


def test_prefect_is_set_up_as_by_evergreen_up() -> None:
    """With PostgreSQL and Redis: the same variables for events, queues and what is deleted, and the same values."""
    own = services(FILLED)
    redis = own["prefect"].environment["PREFECT_REDIS_MESSAGING_URL"]
    settings = Settings(home=PROJECT / "nowhere", prefect_database="x", redis=redis)  # type: ignore[arg-type]
    ours = service_environment(SERVER, settings, Ports(prefect=1, mlflow=2))
    wanted = {name: value for name, value in ours.items() if name.startswith(("PREFECT_SERVER_", "PREFECT_REDIS_"))}
    # The image says it, for all that it runs.
    wanted = {name: value for name, value in wanted.items() if "DATABASE_CONN" not in name and "ANALYTICS" not in name}
    assert "PREFECT_SERVER_ANALYTICS_ENABLED=false" in DOCKERFILE.read_text()
    for name in ("prefect", "prefect-services", "prefect-database"):
        assert wanted.items() <= own[name].environment.items()


def test_every_evergreen_command_exists() -> None:
    """With its options, in the compose file and in what it says to a person."""
    text = COMPOSE.read_text()
    lines = [" ".join(each.command[1:]) for each in services(FILLED).values() if each.command[:1] == ("evergreen",)]
    lines += re.findall(r"\bevergreen ((?:deployments|automations) \w+)", text)
    lines += re.findall(r"serving evergreen (.*)$", text, flags=re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        command: Any = typer.main.get_command(app)
        for word in line.split():
            if word.startswith("--"):
                assert word in {flag for each in command.params for flag in each.opts}, line
            elif hasattr(command, "commands"):
                command = command.commands[word]


def test_the_image_has_what_the_project_asks_for() -> None:
    """Every dependency and the extras that the Dockerfile names, each with a hash, and none of the tests' tools."""
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', DOCKERFILE.read_text(), flags=re.MULTILINE)
    text, count = image_requirements(PROJECT, extras.split())
    packages = set(re.findall(r"^([a-z0-9-]+)==", text, flags=re.MULTILINE))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    optional = [line for each in extras.split() for line in project["optional-dependencies"][each]]
    lines = [*project["dependencies"], *optional]
    assert {re.split(r"[^\w.-]", line)[0].lower() for line in lines} <= packages
    assert {"flask-wtf", "psycopg", "asyncpg", "prefect-redis", "boto3"} <= packages
    assert not packages & {"pytest", "mypy", "ruff", "dvc", "distributed", "numba", "moto", "sphinx", "playwright"}
    assert count == len(packages) or count < text.count("==")
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z])", text.strip()))
    with pytest.raises(EvergreenError, match="no extra nonsense"):
        image_requirements(PROJECT, ["nonsense"])


def test_the_image_has_all_code_and_nothing_else() -> None:
    """Every package of the project, what is deployed, and no test, no git and no state."""
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"]["build-backend"]["module-name"]
    assert rules[0] == "*"
    let_in = {line[1:] for line in rules if line.startswith("!")}
    assert let_in == {*packages, "prefect.yaml", "pyproject.toml", "requirements.lock"}


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("check-jsonschema", ["--builtin-schema", "vendor.compose-spec", str(COMPOSE)]),
        ("yamllint", ["--strict", "--config-data", YAMLLINT, str(COMPOSE), str(FOLDER / "prometheus.yml")]),
        ("hadolint", [str(DOCKERFILE)]),
        ("checkov", ["--file", str(DOCKERFILE), "--framework", "dockerfile", "--compact", "--quiet"]),
        ("checkov", ["--directory", str(FOLDER), "--framework", "secrets", "--compact", "--quiet"]),
        ("shellcheck", [str(FOLDER / "postgres-init.sh")]),
    ],
)
def test_the_linters_find_nothing(tool: str, words: list[str]) -> None:
    """Each that is installed; what a check may not ask for is said in the file, with its reason."""
    # checkov would ask its maker's server for texts.
    more = ["--skip-download"] if tool == "checkov" else []
    done = subprocess.run([require_tool(tool), *words, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linters_would_find_it(tmp_path: Path) -> None:
    """A word that is not Compose's, planted."""
    planted = tmp_path / "compose.yaml"
    planted.write_text(COMPOSE.read_text().replace("    cap_drop:", "    cap_drops:").replace("depends_on:", "needs:"))
    words = [require_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", planted]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1
