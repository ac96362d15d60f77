"""What is deployed: a version's image, under the names and tags that are this environment's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from deployments.production.clouds.steps import Progress, Step, run_tool
from deployments.production.image import WrittenImage, write_image
from evergreen.errors import EvergreenError
from evergreen.naming import cloud_endpoint, cloud_folder, cloud_image, cloud_tags, cloud_version
from evergreen.settings import Settings

ACCESS = ("EVERGREEN_SERVING_ACCESS", "platform")
"""The container's variable: the platform in front of it knows its clients."""
PORT = 8080
HEALTH, ALIVE, PREDICT = "/ping", "/v2/health/live", "/invocations"
"""The container's port and paths, as the platforms are told them."""


@dataclass(frozen=True, slots=True)
class Served:
    """The endpoint of a model in a cloud, by its name and the tags that make it our own."""

    endpoint: str
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """A version on its way to an endpoint.

    Attributes:
        served: the endpoint.
        image: what was written to build from.
        version: that is served.
        uri: the image in its registry.
        registry: that it is pushed to; empty where the image is there already.
        instance: the type of machine that serves it.
        role: as which SageMaker runs it, an ARN; empty elsewhere.
        tags: of all that is made for this version.
        folder: of the files that are sent.
    """

    served: Served
    image: WrittenImage
    version: int
    uri: str
    registry: str
    instance: str
    role: str
    tags: dict[str, str]
    folder: Path

    def name(self, *made_of: str) -> str:
        """What SageMaker and Vertex AI call it; made of other things, it has another name, for none can be changed."""
        text = "\n".join([self.uri, self.instance, *made_of])
        return cloud_version(self.served.endpoint, self.version, hashlib.sha256(text.encode()).hexdigest())

    def write(self, file: str, text: str) -> Path:
        """Write a file that is sent."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / file
        place.write_text(text, encoding="utf-8")
        return place

    def request(self, form: str) -> str:
        """The example row as a request to `/invocations`; empty where no example is known."""
        return json.dumps({form: [dict(self.image.example)]}) if self.image.example else ""


def served_by(settings: Settings, model: str) -> Served:
    """The endpoint of a model in this environment."""
    return Served(cloud_endpoint(settings.environment, model), cloud_tags(settings.environment, model))


def prepare_target(
    settings: Settings,
    cloud: str,
    model: str,
    number: int | None,
    *,
    image: str,
    registry: str,
    instance: str,
    role: str = "",
) -> Target:
    """Write the image's folder, which verifies the version, and name what is made of it.

    Args:
        settings: where model and registry are.
        cloud: the word of the platform.
        model: its name.
        number: of the version; None for the champion of now.
        image: that was pushed already; else it is built and pushed.
        registry: of images, with the repository where the platform has them below one.
        instance: the type of machine.
        role: as which SageMaker runs it, an ARN.

    Raises:
        EvergreenError: there is no such version, it did not pass its gates, or no registry was named.
    """
    if bool(image) == bool(registry):
        raise EvergreenError(
            "Where the image is, is said by one of --registry and --image.",
            "Name the registry that it is pushed to with --registry, or an image that is there already with --image.",
        )
    written = write_image(settings, model, number=number)
    if written.version is None:
        raise EvergreenError(f"{model} is pinned to no version.", "Name one with --version.")
    served = served_by(settings, model)
    uri = image or cloud_image(
        registry.removeprefix("https://").rstrip("/"), served.endpoint, written.version, _digest(written.folder)
    )
    return Target(
        served=served,
        image=written,
        version=written.version,
        uri=uri,
        registry="" if image else uri.partition("/")[0],
        instance=instance,
        role=role,
        tags=cloud_tags(settings.environment, model, written.version),
        folder=settings.images / cloud_folder(cloud, model, written.version),
    )


def _digest(folder: Path) -> str:
    """The sha256 of all files in a folder, with their names."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(
            f"{file.relative_to(folder).as_posix()}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return whole.hexdigest()


def build_step(target: Target, *arguments: str) -> Step:
    """Build the image: for the processors that these platforms have, in the form that all of them read.

    SageMaker refuses the manifests of OCI, which BuildKit writes where it adds a provenance or Docker stores images by
    containerd (mlflow issue 13834, amazon-sagemaker-feedback issue 180).
    """
    words = ("docker", "buildx", "build", "--platform=linux/amd64", "--provenance=false", "--output=type=docker")
    return Step("Build the image", (*words, *arguments, f"--tag={target.uri}", str(target.image.folder)))


def push_step(target: Target) -> Step:
    """Push the image."""
    return Step("Push it", ("docker", "push", target.uri))


def run_step(step: Step, progress: Progress, given: str = "") -> str:
    """Run the command of a step, and tell that it is done."""
    told = run_tool(step.words, progress, given=given)
    progress.done(f"{step.words[0]}: {step.what[0].lower()}{step.what[1:]}")
    return told
