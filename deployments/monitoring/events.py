"""What happened to a model, as lines through every graph: found in the series themselves, so that nothing is pushed."""

from __future__ import annotations

from deployments.monitoring.expressions import WINDOW, increase, of
from deployments.monitoring.panels import BLUE, GREEN, ORANGE, RED, Event


def events(*matchers: str) -> list[Event]:
    """Promotions, rollbacks, retrainings and steps of canaries, of the models that the matchers choose.

    The window is as long as the step of the graph, so that none is missed where a point stands for half an hour.
    """
    champion, share = of("champion_version", *matchers), of("canary_share_ratio", *matchers)
    back = f"resets({champion}{WINDOW})"
    begun = f"({share} unless {share} offset $__rate_interval)"
    return [
        Event(
            "Promotions",
            f"max by (model) (changes({champion}{WINDOW}) - {back}) > 0",
            GREEN,
            "{{model}}: a newer version became champion",
        ),
        Event("Rollbacks", f"max by (model) ({back}) > 0", RED, "{{model}}: an older version is champion again"),
        Event(
            "Retrainings",
            f"sum by (model, outcome) ({increase(of('retrains_total', *matchers))}) > 0",
            BLUE,
            "{{model}}: a retraining ended, {{outcome}}",
        ),
        Event(
            "Canary steps",
            f"count by (model, version) (changes({share}{WINDOW}) > 0 or {begun})",
            ORANGE,
            "{{model}}: version {{version}} has another share of the requests",
        ),
    ]
