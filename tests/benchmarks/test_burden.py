"""The measure of burdens of proof: weeks that are told by what was deployed in them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.burden import ALWAYS, NEVER, NO_REFIT, _all
from benchmarks.candidates import Replay
from benchmarks.streams import seasons


@pytest.mark.slow
def test_a_candidate_that_learned_noise_is_refused_by_every_burden() -> None:
    """Between never and always lie the burdens; where labels are noise no burden promotes anything."""
    stream = seasons(0)
    replay = Replay(stream, 4)
    found = _all([replay])
    assert found[NEVER].promoted == 0
    assert found[ALWAYS].promoted == found[ALWAYS].candidates == 3
    assert found["margin 0"].promoted <= found["margin 0.2"].promoted
    assert found[NO_REFIT].promoted == found["margin 0"].promoted
    noise = stream.rows["y"].sample(frac=1, random_state=0).to_numpy()
    broken = Replay(replace(stream, rows=stream.rows.assign(y=noise)), 4)
    refused = _all([broken])
    assert all(refused[name].promoted == 0 for name in refused if name != ALWAYS)
    assert refused["margin 0.2"].by_dummy == 3
