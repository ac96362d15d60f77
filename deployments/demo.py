"""A model kept fresh in front of one's eyes: the live stack, and seven things that happen to `bike_demand`.

Everything is simulated from a seed and lives in a state folder of its own, which is made anew: run twice, it decides
the same. The stack is the one of `evergreen up`: what a run does, a worker does, started by a deployment or an event.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments.automations import run_follower
from deployments.automations.run_follower import Chain, deployed
from deployments.cli import console
from deployments.stack import prefect_home, stack
from deployments.stack.stack import Stack
from evergreen.decision import Decision
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.settings import PROJECT, Settings, load_settings
from evergreen.sources.simulator import simulate
from evergreen.storage.atomic_write import staged_file

if TYPE_CHECKING:
    import pandas as pd
    from prefect.client.schemas.objects import FlowRun
    from rich.table import Table

MODEL = "bike_demand"
SEED = 42
START, CHANGE = date(2011, 6, 6), date(2011, 8, 29)
_RUN_SECONDS = 180.0


@dataclass(slots=True)
class Scene:
    """One thing that happens, and what came of it."""

    title: str
    drift: str = ""
    outcome: str = ""
    champion: str = ""
    before: float | None = None
    after: float | None = None
    note: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Demo:
    """The scenes in their order; each is told as it ends."""

    settings: Settings
    scenes: list[Scene] = field(default_factory=list)
    report: str = ""
    chain: Chain | None = None

    def play(self) -> None:
        """Run every scene."""
        self._scene("Ten weeks of history land: the first champion", self.first_champion)
        self._scene("A quiet fortnight lands: nothing to do", self.quiet)
        self._scene("Three hot, windy weeks land: the report fails, its event starts a retrain", self.drifted)
        self._scene("A batch with text for numbers lands: quarantine", self.poisoned)
        self._scene("A hasty candidate of three trees: the gates reject it", self.hasty)
        self._scene("Somebody rolls back", self.rolled_back)
        self._scene("The next routine retrain: what was taken back stays back", self.stays_back)

    def first_champion(self, scene: Scene) -> None:
        """Train and promote with nothing to compare with but the baseline."""
        self._land("history", simulate(START, 70, seed=SEED))
        self._retrained(scene, self._retrain(reason="first champion"))

    def quiet(self, scene: Scene) -> None:
        """More of the same: the report passes, and no retrain is asked for."""
        self._land("quiet", simulate(START + timedelta(days=70), 14, seed=SEED))
        self._monitored(scene, self._monitor())

    def drifted(self, scene: Scene) -> None:
        """Other weather: the report fails, its event fires the automation, and nobody here starts the retrain."""
        self._land("drifted", simulate(CHANGE, 21, seed=SEED, scenario="covariate", change=CHANGE))
        seen = self._monitor()
        self._monitored(scene, seen)
        self.report = seen.detail.get("report") or ""
        if seen.outcome != "FAIL":
            return
        console.err.print("  [dim]the event is out; the automation is to start the retrain[/]")
        answer = run_follower.follow_decision(MODEL, seen.id, told=_say, timeout=_RUN_SECONDS)
        self._retrained(scene, self._last_retrain(answer))
        moves = [move for move in Promotions(self.settings.lake_uri, MODEL).done() if move.decision_id == seen.id]
        self.chain = run_follower.chain("drift", seen.id, answer, moves[-1].at if moves else None)
        console.err.print(chain_table(self.chain))

    def poisoned(self, scene: Scene) -> None:
        """A broken sensor writes text: the batch is kept apart, whole, with the reason."""
        rows = simulate(CHANGE + timedelta(days=21), 3, seed=SEED, scenario="covariate", change=CHANGE)
        self._land("poisoned", rows.assign(hum=["offline"] * 24 + rows["hum"].astype(str).to_list()[24:]))
        self._run("monitor")
        table = quarantine_table(self.settings.lake_uri, MODEL)
        reasons = sorted(set(table.read(["reason"])["reason"])) if table.exists() else []
        scene.outcome = "quarantined" if reasons else "landed"
        scene.note = "; ".join(reasons)

    def hasty(self, scene: Scene) -> None:
        """A candidate with parameters by hand, far too weak."""
        self._retrained(scene, self._retrain(reason="hasty try", params={"model__max_iter": 3}))

    def rolled_back(self, scene: Scene) -> None:
        """One command gives the alias back."""
        with console.steps("rolling back") as listen:
            from flows.rollback import rollback

            listen()
            moved = rollback(MODEL, "shown in the demo")
        scene.outcome, scene.champion = "rolled back", f"v{moved.champion}"
        scene.note = f"version {moved.champion} is the champion again, with its own reference"

    def stays_back(self, scene: Scene) -> None:
        """The same data would give the same model."""
        self._retrained(scene, self._retrain(reason="manual"))

    def _scene(self, title: str, act: Callable[[Scene], None]) -> None:
        scene = Scene(title)
        number = len(self.scenes) + 1
        console.err.print(f"\n[bold]{number}. {title}[/]")
        started = time.monotonic()
        act(scene)
        scene.seconds = time.monotonic() - started
        self.scenes.append(scene)

    def _land(self, name: str, rows: pd.DataFrame) -> None:
        """Put a file where the model's source looks."""
        folder = self.settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{len(self.scenes) + 1}-{name}.csv"
        with staged_file(target) as part:
            rows.to_csv(part, index=False)

    def _run(self, flow: str, **parameters: Any) -> FlowRun:
        return run_follower.run(deployed(flow, MODEL), parameters, told=_say, timeout=_RUN_SECONDS)

    def _monitor(self) -> Decision:
        """Run the monitor's deployment; what it decided, from the ledger."""
        run = self._run("monitor")
        return self._decided("drift", run)

    def _retrain(self, **parameters: Any) -> Decision:
        return self._last_retrain(self._run("retrain", **parameters))

    def _last_retrain(self, run: FlowRun) -> Decision:
        return self._decided("retrain", run)

    def _decided(self, kind: Any, run: FlowRun) -> Decision:
        found = Decisions(self.settings.lake_uri, MODEL).last(kind)
        if found is None or found.flow_run != str(run.id):
            raise EvergreenError(
                f"The run {run.name} decided nothing.", f"See {run_follower.ui()}/runs/flow-run/{run.id}"
            )
        return found

    def _monitored(self, scene: Scene, seen: Decision) -> None:
        scene.drift, scene.note = seen.outcome, seen.reason
        scene.outcome = "no retrain" if seen.outcome == "PASS" else ""
        scene.champion = f"v{seen.champion}"

    def _retrained(self, scene: Scene, decision: Decision) -> None:
        scene.outcome, scene.note = decision.outcome, decision.reason
        scene.champion = f"v{decision.detail['champion']}"
        if decision.detail["checks"]:
            scene.before = decision.detail["metric"]["champion_value"]
            scene.after = decision.detail["metric"]["value"]


def _say(line: str) -> None:
    """A line of a run in the worker, as the steps of a run in this process look."""
    from rich.markup import escape

    step, colon, rest = line.partition(": ")
    if colon and " " not in step:
        console.err.print(f"  [bold]{step:<10}[/] {escape(rest)}")


def chain_table(chain: Chain) -> Table:
    """From the event to the alias, in seconds, with the pages of the Prefect UI."""
    rows = [(f"+{link.seconds:.2f} s", link.what, link.link) for link in chain.links]
    return console.grid("From the event to the champion", ("", "what", "where to see it"), rows)


def show(demo: Demo, links: Stack, *, keep: bool) -> None:
    """The timeline, and where to look."""
    header = ("", "what happened", "drift", "outcome", "champion", "MAE before", "MAE after", "took", "why")
    rows = [
        (str(number), s.title, s.drift, s.outcome, s.champion, s.before, s.after, f"{s.seconds:.1f} s", s.note)
        for number, s in enumerate(demo.scenes, 1)
    ]
    console.out.print()
    console.out.print(console.grid(f"What happened to {MODEL}", header, rows))
    console.out.print(
        "\nMAE before and after: the champion's and the candidate's, on the same rows that neither was trained on.\n"
    )
    if demo.chain is not None:
        console.out.print(chain_table(demo.chain))
    home = demo.settings.root
    live = (
        (f"  Prefect        {links.ports.prefect_ui}", f"  MLflow         {links.ports.mlflow_ui}")
        if keep
        else (f"  the live pages EVERGREEN_HOME={home} .venv/bin/evergreen up   (or next time: make demo KEEP=1)",)
    )
    lines = (
        "\n[bold]Where to look[/]",
        *live,
        f"  drift report   {demo.report}",
        f"  quarantine     {home / 'quarantine' / MODEL}",
        f"  the log        EVERGREEN_HOME={home} .venv/bin/evergreen history {MODEL}",
        *((f"  stop it        EVERGREEN_HOME={home} .venv/bin/evergreen down",) if keep else ()),
        "\nYour own data:   .venv/bin/evergreen new NAME --csv FILE --target COLUMN",
    )
    console.out.print("\n".join(lines), soft_wrap=True)


def main() -> int:
    """Play the demo; 0 if it went as it should."""
    home = Path(os.environ.get("EVERGREEN_DEMO_HOME", PROJECT / ".demo"))
    known = any((home / part).exists() for part in ("lake", "stack"))
    if home.exists() and not known and any(home.iterdir()):
        console.err.print(f"[red]{home} is not a folder of the demo; it is left alone.[/] Set EVERGREEN_DEMO_HOME.")
        return 2
    os.environ["EVERGREEN_HOME"] = str(home)
    # The demo's own server, whichever one the user works with.
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.pop("PREFECT_HOME", None)
    settings = load_settings()
    keep = os.environ.get("KEEP", "0") not in ("", "0")
    try:
        stack.down(settings)
        shutil.rmtree(home, ignore_errors=True)
        demo = Demo(settings)
        links = _up(settings)
        try:
            # Nothing comes in between at a quarter past the hour.
            ours = [deployed(flow, MODEL) for flow in ("monitor", "retrain", "score")]
            with run_follower.no_schedule(*ours, "reconcile/reconcile"):
                demo.play()
        finally:
            if not keep:
                console.err.print("\n[dim]stopping the stack[/]")
                stack.down(settings)
    except EvergreenError as error:
        console.err.print(f"[red]{error.what}[/] {error.fix}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.err.print("[yellow]Stopped.[/]")
        return 1
    show(demo, links, keep=keep)
    expected = ["promoted", "no retrain", "promoted", "quarantined", "rejected", "rolled back", "rejected"]
    return 0 if [scene.outcome for scene in demo.scenes] == expected else 1


def _up(settings: Settings) -> Stack:
    """Start the stack, telling of each part."""
    console.err.print("[bold]0. The stack: Prefect server, MLflow, deployments, automations, a worker[/]")
    with console.err.status("[dim]starting[/]"):
        links = stack.up(settings, lambda part: console.err.print(f"  {part}"))
    prefect_home.use(settings)
    console.err.print(
        f"  ready in {links.seconds:.1f} s: Prefect {links.ports.prefect_ui}, MLflow {links.ports.mlflow_ui}"
    )
    return links


if __name__ == "__main__":
    sys.exit(main())
