"""How fast a prediction is answered online, beside other servers of the same pipeline.

One row a request in a closed loop by `wrk`: a client in Python cannot ask fast enough to measure this.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Finding, Scale, console, table
from benchmarks.servers import CONTRACT_ROW, PROJECT, Peer, champion, environment, peers, started, train

CONNECTIONS = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Load:
    """What `wrk` measured.

    Attributes:
        rate: requests a second.
        p50, p99: latency in milliseconds.
    """

    rate: float
    p50: float
    p99: float


def run(scale: Scale, folder: Path, _api: str) -> list[Finding]:
    """Measure ours and the others, one after another, and print the tables."""
    if shutil.which("wrk") is None:
        console.print("[yellow]serving: skipped, wrk is not installed (Debian: apt install wrk)[/]")
        return []
    home = folder / "serving-home"
    train(home)
    seconds = 1 if scale.rounds == 1 else 8
    loads: dict[str, dict[int, Load]] = {}
    for name, peer in peers(folder, home, with_bento=scale.rounds > 1).items():
        with started(peer, folder / f"{name}.log") as port:
            loads[name] = {count: ask(peer, port, count, seconds, folder) for count in CONNECTIONS}
    _show(loads)
    _show_parts(home)
    _show_memory(folder, home, (1, 2) if scale.rounds == 1 else (1, 20))
    return list(_findings(loads))


def ask(peer: Peer, port: int, connections: int, seconds: int, folder: Path) -> Load:
    """Ask in a closed loop; every answer has to be a good one."""
    script = folder / "post.lua"
    body = json.dumps(peer.body).replace("\\", "\\\\").replace("'", "\\'")
    script.write_text(f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['content-type'] = 'application/json'\n")
    url = f"http://127.0.0.1:{port}{peer.path}"
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(script), url]
    report = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in report, report
    assert "Socket errors" not in report, report
    return Load(
        float(re.findall(r"Requests/sec:\s+([\d.]+)", report)[0]), _latency(report, "50%"), _latency(report, "99%")
    )


def _latency(report: str, share: str) -> float:
    number, unit = re.findall(rf"{share}\s+([\d.]+)(us|ms|s)", report)[0]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def _show(loads: Mapping[str, Mapping[int, Load]]) -> None:
    head = ["server", *(f"{count} conn., req/s (p50, p99 ms)" for count in CONNECTIONS)]
    rows = [
        (name, *(f"{each.rate:,.0f} ({each.p50:.2f}, {each.p99:.2f})" for each in found.values()))
        for name, found in loads.items()
    ]
    table("One row a request, one worker", head, rows)


def _findings(loads: Mapping[str, Mapping[int, Load]]) -> Iterator[Finding]:
    ours, frames = loads["evergreen"], loads["evergreen, frames"]
    times: list[tuple[str, float]] = [("MLflow", 60.0)]
    if "BentoML" in loads:
        times.append(("BentoML", 30.0))
        p50 = loads["BentoML"][8].p50
        yield Finding("p99 at 8 connections", f"{ours[8].p99:.1f} ms", f"< {p50:.1f} ms", ours[8].p99 < p50)
    for name, wanted in times:
        ratio = ours[8].rate / loads[name][8].rate
        yield Finding(f"requests a second, times {name}", f"{ratio:.0f}", f">= {wanted:.0f}", ratio >= wanted)
    yield Finding("p50 at one connection", f"{ours[1].p50:.2f} ms", "<= 0.3 ms", ours[1].p50 <= 0.3)
    ratio = frames[64].rate / loads["Starlette"][64].rate
    yield Finding("frames at 64 connections, times the bare app", f"{ratio:.1f}", ">= 8", ratio >= 8)


def _show_parts(home: Path) -> None:
    """Where the time of a request goes, without the socket and its server."""
    import asyncio

    import orjson

    from serving.options import Options
    from serving.protocols import plain
    from serving.protocols.call import Call
    from serving.served import Served
    from serving.server import build

    settings = _settings(home)
    app = build(Options(("bike_demand",)), settings)
    app.parts.follower.look()
    version = app.parts.follower.models["bike_demand"].current
    assert version is not None
    assert version.direct is not None
    assert version.plan is not None
    body, direct, plan = json.dumps(CONTRACT_ROW).encode(), version.direct, version.plan
    values = direct.admit(CONTRACT_ROW)
    assert values is not None
    answer = plan.predict(values)
    call = Call((CONTRACT_ROW,), single=True)
    served = Served(version, "r", time.time(), 1, [values], [answer], [CONTRACT_ROW])
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/models/bike_demand/predict",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_message: dict[str, Any]) -> None:
        return

    parts: dict[str, Callable[[], object]] = {
        "read JSON": lambda: orjson.loads(body),
        "contract": lambda: direct.admit(CONTRACT_ROW),
        "predict": lambda: plan.predict(values),
        "write JSON": lambda: plain.write_answer(call, version, [answer], "r"),
        "keep for the log": lambda: app.parts.queue.put(served),
    }
    spent = {name: _microseconds(work) for name, work in parts.items()}

    async def whole() -> float:
        rounds = []
        for _ in range(7):
            began = time.perf_counter()
            for _ in range(2_000):
                await app(scope, receive, send)
            rounds.append((time.perf_counter() - began) / 2_000 * 1e6)
        return median(rounds)

    everything = asyncio.run(whole())
    spent["headers, routes, identifiers, limits"] = everything - sum(spent.values())
    rows = [(name, f"{each:.1f}", f"{each / everything:.0%}") for name, each in spent.items()]
    table("Inside of the application", ("part", "microseconds", "share"), [*rows, ("all", f"{everything:.1f}", "100%")])


def _show_memory(folder: Path, home: Path, counts: tuple[int, int]) -> None:
    """What a process holds with one model and with many, and how long it takes from nothing to ready."""
    rows = []
    for count in counts:
        models = folder / f"models-{count}"
        models.mkdir()
        names = [f"bikes_{number:02}" for number in range(count)]
        for name in names:
            text = (PROJECT / "models" / "bike_demand.py").read_text()
            (models / f"{name}.py").write_text(text.replace('name="bike_demand"', f'name="{name}"'))
            _copy_champion(home, models, name)
        command = (sys.executable, "-m", "deployments.cli", "serve", *names, "--port", "PORT")
        peer = Peer(command, "", "/ping", None, environment(home, EVERGREEN_MODELS=str(models)))
        began = time.monotonic()
        with started(peer, folder / f"memory-{count}.log") as port:
            seconds = time.monotonic() - began
            rows.append((str(count), f"{seconds:.1f} s", f"{_resident_mb(port):,.0f} MB"))
    table("One process", ("models", "from nothing to ready", "memory"), rows)


def _copy_champion(home: Path, models: Path, name: str) -> None:
    """Give another model a champion with the pipeline of the shipped one."""
    import models as model_files
    from evergreen.registry.client import Registry
    from evergreen.registry.version import CHAMPION

    registry = Registry(_settings(home))
    if registry.champion(name) is not None:
        return
    source = registry.champion("bike_demand")
    assert source is not None
    spec = model_files.load_spec(name, models)
    pipeline, _ = champion(home)
    candidate = registry.log(
        spec,
        pipeline,
        run_name="copy",
        classes=None,
        params={},
        metrics={},
        files=registry.files(source),
        dataset={"name": name, "digest": "0", "table": name, "version": "1", "rows": "1"},
        tags={"decision_id": "copy"},
    )
    registry.set_alias(name, CHAMPION, registry.register(name, candidate).number)


def _resident_mb(port: int) -> float:
    """Of the process that listens on a port."""
    import psutil

    for connection in psutil.net_connections("tcp"):
        if connection.status == "LISTEN" and connection.laddr and connection.laddr.port == port and connection.pid:
            return float(psutil.Process(connection.pid).memory_info().rss / 1e6)
    return float("nan")


def _settings(home: Path) -> Any:
    from evergreen.settings import Settings

    return Settings(home=home)


def _microseconds(work: Callable[[], object]) -> float:
    rounds = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(5_000):
            work()
        rounds.append((time.perf_counter() - began) / 5_000 * 1e6)
    return median(rounds)
