"""What all models of a machine share: the worker, the registry, the snapshot that is scraped, disk and processes."""

from __future__ import annotations

from deployments.monitoring.expressions import increase, of, rate
from deployments.monitoring.panels import (
    AGO,
    BAD,
    BYTES,
    ORANGE,
    RED,
    REQUESTS,
    ROWS,
    SECONDS,
    SHARE,
    YES_IS_GOOD,
    Panel,
    Query,
    graph,
    number,
)


def machine_numbers() -> list[Panel]:
    """Whether whatever moves the loop is there."""
    return [
        number(
            "Prefect answers",
            "No: the local Prefect server does not answer, so that nothing that is due begins. No data: there is no "
            "local stack, and the loop is scheduled elsewhere.",
            Query(f"min({of('prefect_reachable')})"),
            words=YES_IS_GOOD,
        ),
        number(
            "Worker last heard of",
            "More than a minute ago: the worker is dead or stuck, and runs stay scheduled.",
            Query(f"max({of('worker_heartbeat_timestamp_seconds')}) * 1000"),
            unit=AGO,
        ),
        number(
            "Registry can be read",
            "No: MLflow's database is away. Predictions go on with what is loaded; nothing can be promoted.",
            Query(f"min({of('registry_readable')})"),
            words=YES_IS_GOOD,
        ),
        number(
            "Snapshot read",
            "More than a minute or two ago: every figure of the loop is that old. The log of the pages says why.",
            Query(f"max({of('snapshot_timestamp_seconds')}) * 1000"),
            unit=AGO,
        ),
        number(
            "Snapshot took",
            "Seconds: the tables have grown, or the machine is busy. Snapshots take a tenth of a processor at most, so "
            "that one which takes long is made less often.",
            Query(f"max({of('snapshot_duration_seconds')})"),
            unit=SECONDS,
            levels={5: ORANGE, 30: RED},
        ),
        number(
            "Disk in use",
            "Near 100 %: runs and the log of requests fail when it is full. `evergreen clean` shows what can go.",
            Query(f"max(1 - {of('disk_free_bytes')} / {of('disk_size_bytes')})"),
            unit=SHARE,
            levels={0.8: ORANGE, 0.9: RED},
        ),
    ]


def answering_panels() -> list[Panel]:
    """How busy a server of predictions is, and whether what it answered is kept."""
    return [
        graph(
            "Requests that wait",
            "Growing: more is asked than is answered. From 2,000 that wait for the thread of frames on, requests are "
            "refused as `busy`.",
            Query(f"sum({of('serving_requests_in_flight')})", "in flight"),
            Query(f"sum({of('serving_frame_requests_waiting')})", "wait for the thread of frames"),
        ),
        graph(
            "Answered rows that are not in the lake yet",
            "Growing for longer than a minute: the lake cannot be written. At 500,000 rows are lost.",
            Query(f"sum({of('serving_log_rows_waiting')})", "rows"),
            levels={400_000: ORANGE, 500_000: RED},
        ),
        graph(
            "What becomes of answered rows",
            "Any row that is lost, for no performance report will know of it; rows without key: no label finds them.",
            Query(f"sum({rate(of('serving_log_rows_kept_total'))})", "kept"),
            Query(f"sum({rate(of('serving_log_rows_lost_total'))})", "lost"),
            Query(f"sum({rate(of('serving_log_rows_without_key_total'))})", "kept without key"),
            unit=ROWS,
        ),
        graph(
            "Refused before a version was met",
            "`unauthorized` is a client without a key, `not_found` one that asks for another path; `no_champion` means "
            "that nothing is in production, `busy` that too much is asked, `went_away` that clients give up.",
            Query(f"sum by (code) ({rate(of('serving_refusals_total'))})", "{{code}}"),
            unit=REQUESTS,
        ),
        graph(
            "Commits of the log that failed",
            "More than one now and then: the lake is away or the disk is full; the rows are tried again.",
            Query(f"sum({increase(of('serving_log_failures_total'))})", "failed commits"),
            levels=BAD,
            bars=True,
        ),
    ]


def process_panels() -> list[Panel]:
    """What the processes that are scraped take of the machine."""
    return [
        graph(
            "Disk of the state folder",
            "Free room that shrinks faster than `evergreen clean` gives it back.",
            Query(f"min({of('disk_free_bytes')})", "free"),
            Query(f"max({of('disk_size_bytes')})", "all"),
            unit=BYTES,
        ),
        graph(
            "Memory of the processes",
            "Growth that does not end. The server of predictions holds some 400 MB, most of it libraries.",
            Query("process_resident_memory_bytes", "{{job}} {{instance}}"),
            unit=BYTES,
        ),
        graph(
            "Processors that they take",
            "Near 1: a server answers by one processor, and is at its limit.",
            Query(rate("process_cpu_seconds_total"), "{{job}} {{instance}}"),
        ),
        number(
            "Can be scraped",
            "No: the pages or the server of predictions do not answer, and all that they tell is missing here.",
            Query("min by (job) (up)", "{{job}}"),
            words=YES_IS_GOOD,
            width=12,
        ),
        number(
            "Version of Evergreen",
            "Two versions: a process was not started again after an update.",
            Query(f"count by (version) ({of('build_info')})", "{{version}}"),
            width=12,
        ),
    ]
