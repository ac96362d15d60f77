"""The challenger that meets live traffic beside the champion, as the tags of the registry say.

Servers hold no state of a canary: which version takes part, and with which share, is read at each look. So several
servers behave alike, and one that starts anew goes on where it was.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from evergreen.errors import EvergreenError
from evergreen.registry.lineage import against
from evergreen.registry.version import Version
from evergreen.spec.canary import Canary, canary_of
from serving.version import ServedVersion

RETRY_SECONDS = 30.0
"""Until a version that could not be loaded is tried again."""
_WHOLE = 100

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class OpenCanary:
    """Two versions of a model on live traffic.

    Attributes:
        champion: that answers what the challenger does not.
        challenger: that answers its share.
        share: percent of the requests; with 0 the champion answers all, and both are compared.
        rules: what the challenger's model file says of it.
    """

    champion: ServedVersion
    challenger: ServedVersion
    share: int
    rules: Canary

    def other(self, version: ServedVersion) -> ServedVersion:
        """The one of the two that a version is not."""
        return self.champion if version is self.challenger else self.challenger


@dataclass(slots=True)
class CanaryState:
    """What is known of the challenger of one model.

    Attributes:
        open: the two versions; None where no challenger meets traffic.
        problem: why a challenger that should meet traffic does not; empty where none should, or it does.
        failures: how often the champion answered because this challenger failed, by how it failed.
        failed: the number of the version that could not be loaded, and when it is tried again.
    """

    open: OpenCanary | None = None
    problem: str = ""
    failures: Counter[str] = field(default_factory=Counter)
    failed: tuple[int, float] = (0, 0.0)

    def follow(
        self, champion: ServedVersion | None, challenger: Version | None, load: Callable[[Version], ServedVersion]
    ) -> None:
        """Bring the challenger to what the registry says; what fails is told by `problem` and disturbs nothing.

        Args:
            champion: that answers now.
            challenger: the version with that alias; None where there is none.
            load: makes a version ready to answer.
        """
        problem = ""
        try:
            self._follow(champion, challenger, load)
        except EvergreenError as error:
            problem = error.what
        except Exception as error:
            problem = f"The challenger cannot be loaded ({type(error).__name__})."
        if problem:
            self._close()
        if problem and problem != self.problem and challenger is not None:
            about = {"model": challenger.model, "version": challenger.number}
            _LOG.warning("%s meets no traffic: %s", challenger.label, problem, extra=about)
        self.problem = problem

    def _follow(
        self, champion: ServedVersion | None, version: Version | None, load: Callable[[Version], ServedVersion]
    ) -> None:
        share = None if version is None else version.tags.canary
        if champion is None or version is None or share is None or version.number == champion.number:
            self._close()
            return
        if share > _WHOLE:
            raise EvergreenError(f"Its tag says {share} percent.")
        if version.tags.compared_with != against(champion.number):
            held = f"It was held against version {version.tags.compared_with}"
            raise EvergreenError(f"{held}, and version {champion.number} answers.")
        self._open(champion, self._load(version, load), share)

    def _load(self, version: Version, load: Callable[[Version], ServedVersion]) -> ServedVersion:
        if self.open is not None and self.open.challenger.is_same(version.number, version.tags.sha256):
            return self.open.challenger
        number, until = self.failed
        if number == version.number and time.monotonic() < until:
            raise EvergreenError(self.problem)
        try:
            return load(version)
        except Exception:
            self.failed = version.number, time.monotonic() + RETRY_SECONDS
            raise

    def _open(self, champion: ServedVersion, challenger: ServedVersion, share: int) -> None:
        if champion.spec.task != challenger.spec.task:
            raise EvergreenError(f"It is a {challenger.spec.task}, and the champion is a {champion.spec.task}.")
        now = self.open
        if now is not None and now.champion is champion and now.challenger is challenger and now.share == share:
            return
        if now is None or now.challenger is not challenger:
            self.failures.clear()
        self.open = OpenCanary(champion, challenger, share, canary_of(challenger.spec))
        name, number = challenger.spec.name, challenger.number
        about = {"model": name, "version": number}
        _LOG.info("%s: version %d answers %d %% of the requests", name, number, share, extra=about)

    def _close(self) -> None:
        if self.open is not None:
            name, number = self.open.challenger.spec.name, self.open.challenger.number
            about = {"model": name, "version": number}
            _LOG.info("%s: version %d is challenger no longer", name, number, extra=about)
        self.open = None

    def count_failure(self, challenger: ServedVersion, how: str) -> None:
        """The champion answered a request in the challenger's place."""
        if how not in self.failures:
            name, number = challenger.spec.name, challenger.number
            about = {"model": name, "version": number}
            _LOG.warning("%s: version %d fails, and the champion steps in: %s", name, number, how, extra=about)
        self.failures[how] += 1
