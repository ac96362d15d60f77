"""evergreen image: what it writes, what it refuses, and that a server starts from what it wrote, as its image does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app as command_line
from deployments.production.image import write_image
from evergreen.errors import ArtifactError, EvergreenError, ModelFileError, RefusedError, RegistryError
from evergreen.naming import invocations_path, predict_path
from evergreen.verdicts import Verdict
from serving.access import add_key
from serving.container import read_options
from serving.verified_copy import read_copy
from tests.deployments.production.conftest import ROW, Process, Shop, free_port

BASE = os.environ.get("EVERGREEN_TEST_BASE", "")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "serving-images.md"
Start = Callable[..., Process]


def _files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_a_pinned_image_holds_the_version_as_it_is_registered(shop: Shop, tmp_path: Path) -> None:
    """Byte by byte, with the few rows that prove it, of which only the features."""
    import pandas as pd

    version = shop.registry.get("toy", 1)
    written = write_image(shop.settings, "toy", out=tmp_path / "image")
    place = written.folder / "app" / "version"
    stored = next(place.glob("*/model.skops")).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == version.tags.sha256 == written.sha256
    facts = json.loads((written.folder / "app" / "image.json").read_text())
    assert facts == {"model": "toy", "version": 1, "sha256": version.tags.sha256}
    assert list(pd.read_parquet(next(place.glob("*/golden.parquet")))) == ["x", "kind"]
    assert (written.version, written.tag, set(written.example)) == (1, "toy:1", {"x", "kind"})


def test_the_context_is_code_requirements_and_the_version_alone(shop: Shop, tmp_path: Path) -> None:
    """Nothing of the home, no setting, no key, no cache; everybody may read it."""
    add_key(shop.settings.serving_keys_file, "shop")
    (shop.settings.models / "other.py").write_text("SECRET = 'never'\n")
    folder = write_image(shop.settings, "toy", out=tmp_path / "image").folder
    rest = {name for name in _files(folder) if not re.match(r"app/(evergreen|serving)/[\w/]+\.py$", name)}
    digest = next((folder / "app" / "version").glob("*/")).name
    assert rest == {
        *("Dockerfile", "requirements.txt", "app/image.json", "app/models/__init__.py", "app/models/toy.py"),
        *(f"app/version/{name}" for name in ("copy.json", f"{digest}/model.skops", f"{digest}/golden.parquet")),
        next(name for name in rest if name.endswith(".dist-info/METADATA")),
    }
    assert [file for file in folder.rglob("*") if not file.stat().st_mode & 0o004] == []
    assert folder.stat().st_mode & 0o005 == 0o005
    text = "".join((folder / name).read_text() for name in rest if name.endswith((".py", ".json", "file", ".txt")))
    assert str(shop.settings.root) not in text


def test_the_dockerfile_says_how_it_runs(shop: Shop, tmp_path: Path) -> None:
    """This Python, a user without root, hashes, a health check, the port, the word that SageMaker uses, its labels."""
    folder = write_image(shop.settings, "toy", out=tmp_path / "image").folder
    text = (folder / "Dockerfile").read_text()
    lines = text.splitlines()
    assert f"ARG BASE=python:{sys.version_info.major}.{sys.version_info.minor}-slim" in lines
    user, last = lines.index("USER ${RUN_AS}"), max(place for place, line in enumerate(lines) if line[:4] == "RUN ")
    assert user > last and "ARG RUN_AS=10001:10001" in lines
    assert "--require-hashes" in text and "EXPOSE 8080" in lines and "/ping" in text
    assert lines.index('ENTRYPOINT ["python", "-m", "serving.container"]') + 1 == lines.index('CMD ["serve"]')
    assert 'evergreen.model="toy"' in text and 'evergreen.version="1"' in text


def test_files_that_the_model_file_imports_come_along(shop: Shop, tmp_path: Path) -> None:
    """Also those that shape no fit, and those of a function."""
    (shop.settings.models / "shared.py").write_text("SHARE = 1.0\n")
    (shop.settings.models / "late.py").write_text("LATE = 1.0\n")
    (shop.settings.models / "stranger.py").write_text("NEVER = 1.0\n")
    file = shop.settings.models / "toy.py"
    before = "from models.shared import SHARE\n\n\ndef later():\n    import models.late\n\n\nMODEL = "
    text = file.read_text().replace("serve=Serve()", "serve=Serve(log=SHARE)")
    assert text.count("log=SHARE") == text.count("\nMODEL = ") == 1
    file.write_text(text.replace("MODEL = ", before))
    folder = write_image(shop.settings, "toy", out=tmp_path / "image").folder
    found = {path.name for path in (folder / "app" / "models").iterdir()}
    assert found == {"__init__.py", "toy.py", "shared.py", "late.py"}


def test_a_following_image_holds_no_version(shop: Shop, tmp_path: Path) -> None:
    """It asks the registry, for which it has the libraries; without an address of one it does not start."""
    written = write_image(shop.settings, "toy", follow=True, out=tmp_path / "image")
    assert (written.version, written.sha256, written.tag) == (None, "", "toy:champion")
    assert not (written.folder / "app" / "version").exists()
    assert "\nmlflow==" in (written.folder / "requirements.txt").read_text()
    with pytest.raises(EvergreenError, match="EVERGREEN_TRACKING_URI is not set"):
        read_options(["serve"], shop.settings, written.folder / "app")


def test_what_sagemaker_unpacks_counts_before_the_image(shop: Shop, tmp_path: Path) -> None:
    """If it is a version of the same model; one of another is refused."""
    app = write_image(shop.settings, "toy", out=tmp_path / "image").folder / "app"
    unpacked = tmp_path / "unpacked"
    assert read_options([], shop.settings, app, unpacked).pinned == str(app / "version")
    shutil.copytree(app / "version", unpacked)
    assert read_options(["serve"], shop.settings, app, unpacked).pinned == str(unpacked)
    import models

    spec = models.load_spec("toy", shop.settings.models)
    with pytest.raises(ArtifactError, match="holds a version of toy, not of other"):
        read_copy(unpacked, spec.model_copy(update={"name": "other"}))


def test_only_what_passed_is_pinned(shop: Shop) -> None:
    """Without a model file, the version, its gates passed or a champion: refused, and nothing is left."""
    failed = shop.register(2.0, Verdict.FAIL)
    with pytest.raises(ModelFileError, match="nosuch"):
        write_image(shop.settings, "nosuch")
    with pytest.raises(RegistryError, match="no version 7; there are: 1, 2"):
        write_image(shop.settings, "toy", number=7)
    with pytest.raises(RefusedError, match="version 2 is FAILED"):
        write_image(shop.settings, "toy", number=failed.number)
    shop.registry.drop_alias("toy", "champion")
    with pytest.raises(RegistryError, match="no champion yet"):
        write_image(shop.settings, "toy")
    assert write_image(shop.settings, "toy", number=1).folder == shop.settings.images / "toy-v1"
    assert [path.name for path in shop.settings.images.iterdir()] == ["toy-v1"]


@pytest.mark.parametrize("damaged", ["model.skops", "reference.parquet"])
def test_a_damaged_version_is_refused(shop: Shop, damaged: str) -> None:
    """One byte of what is stored; the folder of an earlier call stays as it was."""
    earlier = _files(write_image(shop.settings, "toy").folder)
    file = next(shop.settings.artifact_folder.rglob(damaged))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="sha256 differs"):
        write_image(shop.settings, "toy")
    assert _files(shop.settings.images / "toy-v1") == earlier
    assert [path.name for path in shop.settings.images.iterdir()] == ["toy-v1"]


def test_a_folder_of_something_else_is_left_alone(shop: Shop, tmp_path: Path) -> None:
    """An image is replaced, an empty folder filled, and anything else refused."""
    place = tmp_path / "place"
    place.mkdir()
    write_image(shop.settings, "toy", out=place)
    (place / "app" / "models" / "gone.py").touch()
    write_image(shop.settings, "toy", out=place)
    assert not (place / "app" / "models" / "gone.py").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(EvergreenError, match="something else"):
        write_image(shop.settings, "toy", out=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_the_command_prints_how_it_is_built_and_run(shop: Shop, tmp_path: Path) -> None:
    """For people and as JSON; words that contradict each other are refused."""
    place = str(tmp_path / "image")
    shown = CliRunner().invoke(command_line, ["image", "toy", "--out", place])
    assert shown.exit_code == 0, shown.output
    assert f"docker build --tag toy:1 {place}\n" in shown.output
    assert "evergreen serve --add-key" in shown.output
    add_key(shop.settings.serving_keys_file, "shop")
    done = CliRunner().invoke(command_line, ["image", "toy", "--follow", "--out", place, "--json"])
    told = json.loads(done.stdout)
    assert (told["version"], told["folder"]) == (None, place)
    assert "-e EVERGREEN_TRACKING_URI -e EVERGREEN_LAKE" in told["run"]
    both = CliRunner().invoke(command_line, ["image", "toy", "--follow", "--version", "1"])
    assert (both.exit_code, "pins no version" in both.output) == (2, True)


def _installed(requirements: Path, libraries: Path) -> Path:
    """A folder of links to what the requirements name and is installed here, and to nothing else."""
    libraries.mkdir()
    for name in re.findall(r"^([\w.-]+)==", requirements.read_text(), flags=re.MULTILINE):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform or another Python
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link = libraries / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))))
    return libraries


def _command(folder: Path) -> list[str]:
    """What the image's Dockerfile starts, word by word."""
    text = (folder / "Dockerfile").read_text()
    entry, words = (json.loads(re.findall(rf"^{word} (.*)$", text, re.MULTILINE)[0]) for word in ("ENTRYPOINT", "CMD"))
    assert entry[0] == "python"
    # -S: none of the libraries that are installed beside this Python.
    return [sys.executable, "-S", *entry[1:], *words]


@pytest.fixture
def contained(shop: Shop, tmp_path: Path, start: Start) -> Callable[..., Process]:
    """Start what a context's image starts, with nothing but the context and the libraries that it names."""

    def begin(folder: Path, *words: str, ready: str | None = "/ping", **variables: str) -> Process:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        # By this name files of libraries are told from those of the project.
        libraries = tmp_path / "site-packages"
        if not libraries.exists():
            _installed(folder / "requirements.txt", libraries)
        port = free_port()
        environment = {"PYTHONPATH": f"{folder / 'app'}:{libraries}", "EVERGREEN_HOME": str(tmp_path / "state")}
        command = [*_command(folder), "--port", str(port), *words]
        url = f"http://127.0.0.1:{port}"
        return start(command, url, ready=ready, env=environment | variables, cwd=elsewhere)

    return begin


def _pinned_away(shop: Shop, tmp_path: Path) -> tuple[Path, str, Any, list[float]]:
    """A context without the home that it was written in, a client's key, rows and what they are predicted as."""
    key = add_key(shop.settings.serving_keys_file, "shop")
    lines = shop.settings.serving_keys_file.read_text()
    rows, predicted = shop.predict(shop.registry.get("toy", 1))
    folder = write_image(shop.settings, "toy", out=tmp_path / "image").folder
    shutil.rmtree(shop.settings.root)
    shutil.rmtree(shop.settings.models)
    (tmp_path / "keys").write_text(lines)
    return folder, key, rows.to_dict(orient="split", index=False), predicted


def test_the_image_serves_from_its_context_alone(shop: Shop, tmp_path: Path, contained: Callable[..., Process]) -> None:
    """No registry, no project, no library but those that it names: the version's rows are answered as by its pipeline.

    A key is asked for, SageMaker's path without one is answered for health alone, and nothing is written anywhere.
    """
    folder, key, rows, predicted = _pinned_away(shop, tmp_path)
    began = time.monotonic()
    server = contained(folder, EVERGREEN_SERVING_KEYS=(tmp_path / "keys").read_text())
    print(f"Ready after {time.monotonic() - began:.1f} seconds.")
    assert server.ask("/invocations", {"dataframe_split": rows})[0] == 401
    status, answer, _ = server.ask("/invocations", {"dataframe_split": rows}, x_api_key=key)
    assert (status, answer["version"], answer["alias"]) == (200, 1, "pinned")
    assert answer["predictions"] == pytest.approx(predicted, rel=1e-9)
    # As Vertex AI asks.
    instances = {"instances": [dict(zip(rows["columns"], row, strict=True)) for row in rows["data"]], "parameters": {}}
    assert server.ask("/invocations", instances, x_api_key=key)[1]["predictions"] == answer["predictions"]
    # The paths that docs/serving-images.md gives to the platforms.
    paths = set(re.findall(r"path: (/[\w/]+)", PAGE.read_text()))
    assert paths and {path for path in paths if server.ask(path)[0] == 200} == paths
    told = server.ask("/v2/models/toy", x_api_key=key)[1]["parameters"]
    assert (told["compiled"], told["stale"]) == (True, "")
    assert server.end() == -signal.SIGTERM
    assert "No answer is kept" in "".join(server.lines) and "Traceback" not in "".join(server.lines)
    assert not (tmp_path / "state").exists()


def test_without_a_key_it_starts_only_where_the_platform_knows_its_clients(
    shop: Shop, tmp_path: Path, contained: Callable[..., Process]
) -> None:
    """It says what to do and ends with 2; EVERGREEN_SERVING_ACCESS=platform is said in so many words."""
    folder, _, rows, predicted = _pinned_away(shop, tmp_path)
    refused = contained(folder, ready=None)
    assert refused.popen.wait(60) == 2
    refused.reader.join()
    assert "there is no API key" in "".join(refused.lines) and "EVERGREEN_SERVING_ACCESS" in "".join(refused.lines)
    server = contained(folder, "--workers", "2", EVERGREEN_SERVING_ACCESS="platform", EVERGREEN_LAKE=f"{tmp_path}/lake")
    answer = server.ask(invocations_path("toy"), {"dataframe_split": rows})[1]
    assert answer["predictions"] == pytest.approx(predicted, rel=1e-9)
    server.end()
    assert (tmp_path / "lake" / "toy" / "predictions").is_dir()


def test_a_damaged_image_does_not_start(shop: Shop, tmp_path: Path, contained: Callable[..., Process]) -> None:
    """One byte of the version within: it says so, and ends with 2."""
    folder = write_image(shop.settings, "toy", out=tmp_path / "image").folder
    file = next((folder / "app" / "version").glob("*/model.skops"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    refused = contained(folder, ready=None, EVERGREEN_SERVING_ACCESS="platform")
    assert refused.popen.wait(60) == 2
    refused.reader.join()
    assert "sha256 differs" in "".join(refused.lines) and "Traceback" not in "".join(refused.lines)


def test_the_file_of_the_page_is_yaml() -> None:
    """What docs/serving-images.md gives to KServe, with the port and the user of the image."""
    import yaml

    kserve = yaml.safe_load(*re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    container = kserve["spec"]["predictor"]["containers"][0]
    assert container["ports"][0]["containerPort"] == 8080
    assert container["securityContext"]["runAsNonRoot"]


def test_a_following_image_follows(shop: Shop, tmp_path: Path, contained: Callable[..., Process]) -> None:
    """By the registry that its variables name, with no other library than those that it names."""
    folder = write_image(shop.settings, "toy", follow=True, out=tmp_path / "image").folder
    places = {"EVERGREEN_TRACKING_URI": shop.settings.tracking, "EVERGREEN_LAKE": shop.settings.lake_uri}
    server = contained(folder, "--poll", "0.1", EVERGREEN_SERVING_ACCESS="platform", **places)
    assert server.ask(predict_path("toy"), ROW)[1]["version"] == 1
    shop.registry.set_alias("toy", "champion", shop.register(2.0).number)
    deadline = time.monotonic() + 60
    while server.ask(predict_path("toy"), ROW)[1]["version"] != 2:
        assert time.monotonic() < deadline, "".join(server.lines)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
@pytest.mark.skipif(not BASE, reason="EVERGREEN_TEST_BASE names no image with this Python and pip")
def test_the_image_is_built_and_runs(shop: Shop, tmp_path: Path, start: Start) -> None:
    """By buildah, which needs no daemon: its user is not root, and it answers; size and start are printed.

    EVERGREEN_TEST_BASE names the base, EVERGREEN_TEST_PIP a pip.conf for the build.
    """
    folder, key, rows, predicted = _pinned_away(shop, tmp_path)
    tag, pip = f"localhost/evergreen-test-{os.getpid()}", os.environ.get("EVERGREEN_TEST_PIP", "")
    secret = ["--secret", f"id=pip,src={pip}"] if pip else []

    def buildah(*words: str) -> str:
        done = subprocess.run(["buildah", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    isolated = ("--isolation", "chroot")
    built = (*isolated, "--network", "host", "--format", "docker", "--build-arg", f"BASE={BASE}", *secret)
    buildah("bud", *built, "--tag", tag, str(folder))
    container = buildah("from", tag)
    try:
        run = ["run", *isolated, "--env", f"EVERGREEN_SERVING_KEYS={(tmp_path / 'keys').read_text()}", container, "--"]
        assert buildah(*run, "id", "-u") == "10001"
        port = free_port()
        command = ["python", *_command(folder)[2:], "--port", str(port)]
        began = time.monotonic()
        server = start(["buildah", *run, *command], f"http://127.0.0.1:{port}")
        seconds = time.monotonic() - began
        answer = server.ask("/invocations", {"dataframe_split": rows}, x_api_key=key)[1]
        assert answer["predictions"] == pytest.approx(predicted, rel=1e-9)
        size, base = (json.loads(buildah("images", "--json", each))[0]["size"] for each in (tag, BASE))
        print(f"Ready after {seconds:.1f} seconds; {size}, of which the base is {base}.")
        server.end()
    finally:
        buildah("rm", container)
        buildah("rmi", tag)
