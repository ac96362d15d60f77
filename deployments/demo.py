"""The demo: the local stack, and seven things that happen to the model `bike_demand`.

All data are simulated from a seed, and the state is in a folder of its own that is created anew, so that a second demo
decides the same. The stack is that of `evergreen up`: its worker executes the runs, which deployments or events start.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from deployments.automations import run_follower
from deployments.automations.run_follower import Chain
from deployments.cli import console
from deployments.stack import prefect_home, stack
from deployments.stack.stack import Stack
from deployments.stack.traffic import Traffic
from evergreen import naming
from evergreen.decision import Decision, Kind
from evergreen.details.decision import RetrainDetail
from evergreen.details.watch import DriftDetail
from evergreen.errors import EvergreenError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.markdown import many, number
from evergreen.settings import PROJECT, Settings, load_settings
from evergreen.sources.simulator import simulate
from evergreen.storage.atomic_write import staged_file
from evergreen.storage.kept_files import show_kept
from evergreen.surroundings import prepare_environment

if TYPE_CHECKING:
    import pandas as pd
    from prefect.client.schemas.objects import FlowRun
    from rich.console import Console

MODEL = "bike_demand"
SEED = 42
START, CHANGE = date(2011, 6, 6), date(2011, 8, 29)
_RUN_SECONDS = 180.0


@dataclass(slots=True)
class Scene:
    """One thing that happens, and its outcome."""

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
    """The scenes in their order; each is shown when it ends."""

    settings: Settings
    scenes: list[Scene] = field(default_factory=list)
    report: str = ""
    chain: Chain | None = None
    running: Stack | None = None

    def play(self) -> None:
        """Run every scene."""
        self._play_scene("Ten weeks of history arrive: the first champion", self.first_champion)
        self._play_scene("Two ordinary weeks arrive: nothing to do", self.quiet)
        self._play_scene("Three hot, windy weeks arrive: drift, and its event starts a retrain", self.drifted)
        self._play_scene("A batch with text instead of numbers arrives: quarantine", self.poisoned)
        self._play_scene("A weak candidate of three trees: the gates reject it", self.hasty)
        self._play_scene("Somebody rolls back, while clients ask for predictions", self.rolled_back)
        self._play_scene("The next routine retrain: what was rolled back stays out", self.stays_back)

    def first_champion(self, scene: Scene) -> None:
        """Train and promote a version that only has the baseline to beat."""
        self._land("history", simulate(START, 70, seed=SEED))
        self._note_retrain(scene, self._retrain(reason="first champion"))

    def quiet(self, scene: Scene) -> None:
        """More of the same: the report passes, and no retrain is needed."""
        self._land("quiet", simulate(START + timedelta(days=70), 14, seed=SEED))
        self._note_drift(scene, self._monitor())

    def drifted(self, scene: Scene) -> None:
        """Other weather: the report fails, and its event starts the retrain through the automation."""
        self._land("drifted", simulate(CHANGE, 21, seed=SEED, scenario="covariate", change=CHANGE))
        drift = self._monitor()
        self._note_drift(scene, drift)
        self.report = show_kept(self.settings.report_place, drift.detail_as(DriftDetail).report or "")
        if drift.outcome != "FAIL":
            return
        console.err.print("  [dim]the event was sent; the automation has to start the retrain[/]")
        answer = run_follower.follow_decision(
            self.settings.environment, MODEL, drift.id, show=console.print_run_line, timeout=_RUN_SECONDS
        )
        self._note_retrain(scene, self._read_decision("retrain", answer))
        moves = [move for move in Promotions(self.settings.lake_uri, MODEL).done() if move.decision_id == drift.id]
        self.chain = run_follower.read_chain("drift", drift.id, answer, moves[-1].at if moves else None)
        show_chain(self.chain, console.err)

    def poisoned(self, scene: Scene) -> None:
        """A broken sensor writes text: the whole batch goes to quarantine, with the reason."""
        rows = simulate(CHANGE + timedelta(days=21), 3, seed=SEED, scenario="covariate", change=CHANGE)
        self._land("poisoned", rows.assign(hum=["offline"] * 24 + rows["hum"].astype(str).to_list()[24:]))
        self._run("monitor")
        table = quarantine_table(self.settings.lake_uri, MODEL)
        reasons = sorted(set(table.read(["reason"])["reason"])) if table.exists() else []
        scene.outcome = "quarantined" if reasons else "landed"
        scene.note = "; ".join(reasons)

    def hasty(self, scene: Scene) -> None:
        """A candidate with parameters by hand, which is far too weak."""
        self._note_retrain(scene, self._retrain(reason="weak candidate", params={"model__max_iter": 3}))

    def rolled_back(self, scene: Scene) -> None:
        """One command makes the earlier version champion again, while a client asks for predictions without pause."""
        with ExitStack() as clients:
            traffic = None
            if self.running is not None and self.running.serving:
                traffic = clients.enter_context(Traffic(self.running.ports.serving, MODEL))
                # The version that is rolled back answers first.
                traffic.wait_for(self._last_move().after or 0, _RUN_SECONDS)
            with console.show_steps("rolling back") as listen:
                from flows.rollback import rollback

                listen()
                result = rollback(MODEL, "shown in the demo")
            if traffic is not None:
                traffic.wait_for(int(result.champion or 0), _RUN_SECONDS)
        scene.outcome, scene.champion = "rolled back", f"v{result.champion}"
        scene.note = f"version {result.champion} is the champion again, with its own reference"
        if traffic is not None:
            scene.note += f". {_describe_traffic(traffic, self._last_move().at.timestamp())}"

    def stays_back(self, scene: Scene) -> None:
        """The same data would give the same model, which is not promoted again."""
        self._note_retrain(scene, self._retrain(reason="manual"))

    def _play_scene(self, title: str, act: Callable[[Scene], None]) -> None:
        scene = Scene(title)
        console.err.print(f"\n[bold]{len(self.scenes) + 1}. {title}[/]")
        started = time.monotonic()
        act(scene)
        scene.seconds = time.monotonic() - started
        self.scenes.append(scene)

    def _land(self, name: str, rows: pd.DataFrame) -> None:
        """Write a file into the folder that the model's source reads."""
        folder = self.settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{len(self.scenes) + 1}-{name}.csv"
        with staged_file(target) as part:
            rows.to_csv(part, index=False)

    def _run(self, flow: str, **parameters: Any) -> FlowRun:
        name = naming.deployment_path(self.settings.environment, flow, MODEL)
        return run_follower.run(name, parameters, show=console.print_run_line, timeout=_RUN_SECONDS)

    def _monitor(self) -> Decision:
        """Run the monitor's deployment; returns its drift decision."""
        return self._read_decision("drift", self._run("monitor"))

    def _retrain(self, **parameters: Any) -> Decision:
        return self._read_decision("retrain", self._run("retrain", **parameters))

    def _read_decision(self, kind: Kind, run: FlowRun) -> Decision:
        """The decision that a run stored in the ledger."""
        decision = Decisions(self.settings.lake_uri, MODEL).last(kind)
        if decision is None or decision.flow_run != str(run.id):
            raise EvergreenError(f"The run {run.name} stored no decision.", f"See {run_follower.run_page(run.id)}")
        return decision

    def _last_move(self) -> Move:
        """The last move of the champion, as the log has it."""
        return Promotions(self.settings.lake_uri, MODEL).done()[-1]

    def _note_drift(self, scene: Scene, drift: Decision) -> None:
        scene.drift, scene.note = drift.outcome, drift.reason
        scene.outcome = "no retrain" if drift.outcome == "PASS" else ""
        scene.champion = f"v{drift.champion}"

    def _note_retrain(self, scene: Scene, decision: Decision) -> None:
        scene.outcome, scene.note = decision.outcome, decision.reason
        detail = decision.detail_as(RetrainDetail)
        scene.champion = f"v{detail.champion}"
        if detail.checks:
            scene.before, scene.after = detail.metric.champion_value, detail.metric.value


def _describe_traffic(traffic: Traffic, moved: float) -> str:
    """What the client saw of a move of the alias; `moved` is when, in seconds since 1970."""
    answers = traffic.answers
    counts = Counter(version for _, version in answers)
    by_version = ", ".join(f"{many(count, 'answer')} of version {version}" for version, count in counts.items())
    last = answers[-1][1] if answers else 0
    followed = next((at for at, version in answers if version == last), moved) - moved
    failed = f"{traffic.failures} failed" if traffic.failures else "none failed"
    return (
        f"Meanwhile {many(len(answers), 'prediction')} were asked for, {failed}: {by_version}; the server followed "
        f"{max(followed, 0.0):.1f} s after the alias"
    )


def show_chain(chain: Chain, out: Console) -> None:
    """Print the moments from the event to the new champion, in seconds, with the pages of the Prefect UI."""
    out.print("[bold]From the event to the champion[/]")
    for link in chain.links:
        out.print(f"  {f'+{link.seconds:.2f} s':>9}  {escape(link.what)}")
        if link.link:
            out.print(f"             [dim]{escape(link.link)}[/]", soft_wrap=True)


def _describe_scene(scene: Scene) -> list[tuple[str, str]]:
    """A scene as lines of a label and a text: what became of it, by which figures, and why."""
    champion = f", champion {scene.champion}" if scene.champion else ""
    before = f"; the champion's {number(scene.before)}" if scene.before is not None else ""
    rows = [
        ("drift", console.coloured(scene.drift) if scene.drift else ""),
        ("outcome", f"{console.coloured(scene.outcome)}{champion}"),
        ("MAE", "" if scene.after is None else f"the candidate's {number(scene.after)}{before}"),
        ("why", escape(scene.note)),
    ]
    return [(label, text) for label, text in rows if text]


def show_demo(demo: Demo, running: Stack, *, keep: bool) -> None:
    """Print the scenes one below the other, and where to look."""
    console.out.print(f"\n[bold]What happened to {MODEL}[/]")
    for place, scene in enumerate(demo.scenes, 1):
        console.out.print(f"\n[bold]{place}. {scene.title}[/] [dim]{scene.seconds:.1f} s[/]")
        console.out.print(console.facts(_describe_scene(scene)))
    console.out.print("\nMAE: the champion's and the candidate's, on the same rows, which neither was trained on.\n")
    if demo.chain is not None:
        show_chain(demo.chain, console.out)
    home = demo.settings.home_folder
    live = (
        (f"  Prefect        {running.ports.prefect_ui}", f"  MLflow         {running.ports.mlflow_ui}")
        if keep
        else (f"  start it again EVERGREEN_HOME={home} .venv/bin/evergreen up   (or next time: make demo KEEP=1)",)
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
    """Play the demo; returns 0 if every outcome is the expected one."""
    home = Path(os.environ.get("EVERGREEN_DEMO_HOME", PROJECT / ".demo"))
    is_demo = any((home / part).exists() for part in ("lake", "stack"))
    if home.exists() and not is_demo and any(home.iterdir()):
        console.err.print(f"[red]{home} is not a folder of the demo, so it is not used.[/] Set EVERGREEN_DEMO_HOME.")
        return 2
    prepare_environment(os.environ)
    os.environ["EVERGREEN_HOME"] = str(home)
    # Neither the user's own state nor an environment's.
    os.environ |= dict.fromkeys(
        (f"EVERGREEN_{name}" for name in ("ENVIRONMENT", "LAKE", "TRACKING_URI", "ARTIFACTS")), ""
    )
    # The demo's own server, whichever one the user works with.
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.pop("PREFECT_HOME", None)
    settings = load_settings()
    keep = os.environ.get("KEEP", "0") not in ("", "0")
    try:
        stack.down(settings)
        shutil.rmtree(home, ignore_errors=True)
        running = _start_stack(settings)
        demo = Demo(settings, running=running)
        try:
            # No scheduled run disturbs the scenes.
            flows = (("monitor", MODEL), ("retrain", MODEL), ("score", MODEL), ("reconcile", ""))
            names = [naming.deployment_path(settings.environment, *each) for each in flows]
            with run_follower.pause_schedules(*names):
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
    show_demo(demo, running, keep=keep)
    expected = ["promoted", "no retrain", "promoted", "quarantined", "rejected", "rolled back", "rejected"]
    return 0 if [scene.outcome for scene in demo.scenes] == expected else 1


def _start_stack(settings: Settings) -> Stack:
    """Start the stack, with a line for each service."""
    console.err.print("[bold]0. The stack: Prefect server, MLflow, deployments, automations, a worker[/]")
    with console.err.status("[dim]starting[/]"):
        running = stack.up(settings, lambda line: console.err.print(f"  {line}"))
    prefect_home.use(settings)
    console.err.print(
        f"  ready in {running.seconds:.1f} s: Prefect {running.ports.prefect_ui}, MLflow {running.ports.mlflow_ui}"
    )
    return running


if __name__ == "__main__":
    sys.exit(main())
