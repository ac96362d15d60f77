"""A card tells what is known of a version, what is not, and who wanted it; nobody's words become markup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from markdown_it import MarkdownIt
from pydantic import ValidationError

import models
from evergreen.actor import person, rejection_reason
from evergreen.decision import Decision
from evergreen.details.decision import ApprovalDetail
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.registry import descriptions
from evergreen.registry.client import Registry
from evergreen.registry.descriptions import Trained
from evergreen.registry.version import Version, VersionTags
from evergreen.reports import card_store
from evergreen.reports.card import LETTERS, approval, brief, card, limits
from evergreen.reports.card_facts import Facts, common, said
from evergreen.settings import PROJECT, Settings
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.training import Training
from evergreen.verdicts import Check, Verdict
from tests.details import detail_of

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHECKS = (
    Check("baseline", Verdict.PASS, 1.5, 0.0, "mae 2 against the baseline's 4: better by 2, 95 % interval 1.5 to 2.5."),
    Check("champion", Verdict.INCONCLUSIVE, -0.1, 0.0, "mae 2 against the champion's 2.1: 95 % interval -0.1 to 0.3."),
    Check("slice kind=a", Verdict.PASS, 0.5, -0.2, "40 rows: better by 0.5."),
)
TAGS = {
    **{"model_validation_status": "PASSED", "spec_hash": "today", "git_commit": "c0ffee", "git_dirty": "false"},
    **{"data_version": "7", "data_digest": "d1e5", "data_rows": "900", "seed": "42", "reason": "drift"},
    **{"data_start": "2025-01-01T00:00:00+00:00", "data_end": "2025-12-31T00:00:00+00:00"},
    **{
        "sha256": "5ha",
        "decision_id": "dec1510n",
        "flow_run": "run",
        "packages": '{"python": "3.11", "pandas": "3.0"}',
    },
}


def version(number: int = 2, **tags: str) -> Version:
    return Version("toy", number, "run", "model", VersionTags.read(TAGS | tags), "")


def move(hours: int, before: int | None, after: int, by: str = "retrain", action: Any = "promote") -> Move:
    return Move(str(hours), NOW + timedelta(hours=hours), action, "done", before, after, f"reason {hours}", "", by)


def entry(kind: Any, outcome: str, reason: str, detail: Any = None) -> Decision:
    return Decision("dec1510n", kind, NOW, outcome, 1, 7, "", reason, detail or detail_of(kind))


@pytest.fixture
def make_facts(make_spec: Make) -> Make:
    """Build the facts of version 2 of a model with slices, judged against version 1; any field can be changed."""

    def make(spec: Any = None, **changes: Any) -> Facts:
        fields: dict[str, Any] = {
            "spec": spec or make_spec(slices=("kind",), metric=Metric(name="mae", bound=5.0)),
            "purpose": "Straight lines.",
            "spec_hash": "today",
            "version": version(),
            "aliases": ("champion",),
            "stated": {"owner": "the team"},
            "trained": Trained({"model__alpha": "0.5"}, {"train_mae": 1.9, "train_rows": 640.0}),
            "judgement": Judgement(
                CHECKS, Verdict.INCONCLUSIVE, 2.0, 2.1, (-0.1, 0.3), 160, {"kind=a": 1.75}, (1.8, 2.2)
            ),
            "importance": {"kind": 0.25, "x": 3.5},
            "profile": {"rows": 100, "columns": {"kind": {"missing": 0.0, "shares": {"a": 0.6, "b": 0.3, "c": 0.09}}}},
            "moves": (move(0, None, 1), move(1, 1, 2)),
        }
        return Facts(**fields | changes)

    return make


def test_a_card_tells_everything_that_is_known(make_facts: Make) -> None:
    """Purpose, owner, figures with intervals, slices, gates, importance, data, training, production, the way back."""
    text = card(make_facts(asked=entry("retrain", "promoted", "well")))
    told = [
        *("# toy version 2\n\nStraight lines.", "| status | PASSED, champion |", "| owner | the team |"),
        *(
            "| judged by | mae, less is better; at most 5 |",
            "on 160 holdout rows: mae 2 (95 %: 1.8 to 2.2)\n",
        ),
        *("in training, on 640 rows: mae 1.9", "95 % interval 1.5 to 2.5.", "95 % interval -0.1 to 0.3."),
        *("| kind=a | 1.75 | 40 rows: better by 0.5. |", "| champion | *INCONCLUSIVE* | -0.1 | 0 |"),
        *("| source | Given |", "2025-01-01 00:00 to 2025-12-31 00:00", "| Delta version | 7 |", "| digest | d1e5 |"),
        *("model\\_\\_alpha=0.5", "| seed | 42 |", "| commit | c0ffee |", "python 3.11, pandas 3.0", "promoted: well"),
        *("| 2026-01-01 13:00 | still | promote by retrain: reason 1 |", "`evergreen rebuild toy 2`"),
    ]
    assert not [words for words in told if words not in text]
    assert text.index("| x | 3.5 |") < text.index("| kind | 0.25 |")


def test_a_card_names_both_fits(make_facts: Make) -> None:
    """Where another fit is deployed than was judged, the card says of which its figures are; else nothing of fits."""
    refit = Check("refit", Verdict.PASS, 0.01, 0.25, "On 640 rows that both fits learned, mae is 1.9 of both.")
    judgement = replace(make_facts().judgement, checks=(*CHECKS, refit))
    tags = {"judged_sha256": "1e5ed", "judged_rows": "640", "deployed_rows": "800"}
    text = card(make_facts(version=version(**tags), judgement=judgement))
    told = [
        "- these are figures of the judged fit; the deployed fit has the same parameters and learned the holdout rows",
        "- refit: On 640 rows that both fits learned",
        *("| rows that the judged fit learned | 640 |", "| rows that the deployed fit learned | 800 |"),
        *("| sha256 of the judged fit | 1e5ed |", "How much the metric of the judged fit worsens when"),
    ]
    assert not [words for words in told if words not in text]
    assert "rows trained on" not in text
    assert "fit" not in card(make_facts()).replace("limit to over-fitting", "")


def test_a_card_is_made_of_what_little_there_is(make_spec: Make) -> None:
    """A version without a judgement, files, run or history still has one, and it says what is not known."""
    bare = Facts(make_spec(), "", "", Version("toy", 1, "", "", VersionTags.read({}), ""))
    text = card(bare)
    assert "does not say what it is for" in text
    assert "nothing was measured" in text
    assert "Nobody: its gates say PENDING." in text
    assert "It was never in production." in text


def test_limits_name_what_was_not_shown_or_asked_or_seen(make_facts: Make, make_spec: Make) -> None:
    """Open checks, gates that were not asked, small slices, times, unwatched columns, code that is not the commit's."""
    facts = make_facts()
    found = "\n".join(limits(facts))
    assert "not proven: champion: mae 2 against" in found
    assert "not asked by the model file: a limit to over-fitting" in found
    assert "values of kind with fewer than 30 holdout rows were not judged on their own; among what it learned" in found
    assert found.count("it learned from: b\n") == 1
    assert "rows of 2025-01-01 to 2025-12-31" in found
    assert "drift reports leave out" not in found
    assert "commit" not in found and "changed since" not in found

    spec = make_spec(drift={"columns": ("x",)}, training=Training(last=timedelta(days=30)))
    other = make_facts(spec, version=version(git_dirty="true", spec_hash="older"))
    found = "\n".join(limits(other))
    assert "drift reports leave out kind" in found
    assert "rows of 2025-12-01 to 2025-12-31" in found
    assert "differ from the commit" in found
    assert "the model file was changed since" in found
    assert "not asked by the model file: an absolute bound of the metric, a limit to over-fitting, slices" in found


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "Put into production on 2026-01-01 13:00 by Evergreen, because it passed every gate. Reason: reason 1."),
        ({}, 'the model file said approval="auto"'),
        ({"moves": (move(1, 1, 2, "person"),)}, "by a person. Reason: reason 1."),
        (
            {"moves": (), "word": entry("approval", "rejected", "rejected by a person: no.")},
            "rejected by a person: no.",
        ),
        ({"moves": (move(1, 1, 2, "person: Ann"),)}, "by Ann, a person. Reason: reason 1."),
        ({"moves": (move(1, 1, 2, "person: retrain"),)}, "by retrain, a person. Reason: reason 1."),
        ({"word": entry("approval", "promoted", "approved by Ann: yes.")}, "On 2026-01-01 12:00 approved by Ann: yes."),
        (
            {"moves": (move(1, 1, 2, "canary"),)},
            "by Evergreen, because live traffic proved it as good as the champion.",
        ),
        (
            {"moves": (), "word": entry("approval", "rejected", "it is worse.", ApprovalDetail(2, canary=True))},
            "On 2026-01-01 12:00 its canary on live traffic ended: it is worse.",
        ),
        ({"moves": (), "version": version(declined="not now")}, "It was rejected by a person: not now."),
        (
            {"moves": (), "version": version(declined="not now", declined_by="person: Ann")},
            "It was rejected by Ann: not now.",
        ),
        ({"moves": ()}, "Nobody yet: it passed its gates and was not promoted."),
        ({"moves": (), "version": version(model_validation_status="FAILED")}, "Nobody: its gates say FAILED."),
    ],
)
def test_who_approved_is_told(make_facts: Make, changes: dict[str, Any], told: str) -> None:
    """The gates alone, a person, with the name that was kept and the reason, or nobody."""
    found = approval(make_facts(**changes))
    assert told in found
    assert ("No person was asked" in found) == ("passed every gate" in found)
    assert ".." not in found


def test_a_reason_is_told_once(make_facts: Make) -> None:
    """A person's word and the promotion that follows from it have the same reason."""
    word = entry("approval", "promoted", "approved by a person: reason 1")
    assert approval(make_facts(word=word, moves=(move(1, 1, 2, "person"),))).count("reason 1") == 1


def test_production_has_a_beginning_and_an_end(make_facts: Make) -> None:
    """Replaced, and brought back by a rollback: two stretches, each with both reasons."""
    moves = (move(0, None, 1), move(1, 1, 2), move(2, 2, 3), move(3, 3, 2, "person", "rollback"))
    text = card(make_facts(moves=moves))
    assert "| 2026-01-01 13:00 | 2026-01-01 14:00 | promote by retrain: reason 1 | promote of version 3 by ret" in text
    assert "| 2026-01-01 15:00 | still | rollback by a person: reason 3 |  |" in text


HOSTILE = "<img src=x> [a](http://evil) ![b](http://evil) **c** `d` | e\n# f _g_ ~h~ \\ &lt; \x1b[31m"


def test_words_stay_words(make_facts: Make) -> None:
    """Whatever a person, a tag or a reason holds: no tag, no link, no picture, no heading, no new cell."""
    check = Check("champion", Verdict.PASS, 1.0, 0.0, HOSTILE)
    judgement = Judgement((check,), Verdict.PASS, 1.0, 2.0, (0.5, 1.5), 20, {HOSTILE: 1.0})
    text = card(
        make_facts(
            purpose=HOSTILE,
            stated={HOSTILE: HOSTILE},
            moves=(replace(move(1, 1, 2), reason=HOSTILE, by=person(HOSTILE)),),
            word=entry("approval", "rejected", rejection_reason(HOSTILE, person(HOSTILE))),
            judgement=judgement,
            version=version(reason=HOSTILE, git_commit=HOSTILE),
            importance={HOSTILE: 1.0},
        )
    )
    tokens = [
        token
        for block in MarkdownIt("commonmark").enable("table").parse(text)
        for token in [block, *(block.children or [])]
    ]
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "em_open", "strong_open", "blockquote_open"}
    assert [token.content for token in tokens if token.type == "code_inline"] == ["evergreen rebuild toy 2"]
    inline = [token.content for token in tokens if token.type == "text"]
    assert any(
        "<img src=x> [a](http://evil) ![b](http://evil) **c** `d` | e # f _g_ ~h~ \\ &lt;" in words for words in inline
    )
    assert len([token for token in tokens if token.type == "heading_open" and token.tag == "h1"]) == 1
    assert len(said("x" * 9000)) < 600


def test_a_slice_of_a_few_rows_is_not_named(make_facts: Make, make_spec: Make) -> None:
    """Where the model file judges single rows as slices, their names are rows; so are rare categories."""
    spec = make_spec(slices=("kind",), gates=Gates(slice_min_rows=1))
    failed = Check("slice kind=Ann", Verdict.FAIL, -3.0, 0.0, "1 row: worse.")
    judgement = Judgement((failed,), Verdict.FAIL, 2.0, 2.1, None, 160, {"kind=Ann": 1.75})
    asked = entry("retrain", "rejected", "slice kind=Ann: 1 row: worse.")
    assert "Ann" not in card(make_facts(spec, judgement=judgement, asked=asked))
    assert common(make_facts().profile, "kind") == {"a": 0.6, "b": 0.3}
    assert common({}, "kind") == {}


def test_a_description_has_whole_sections(make_facts: Make) -> None:
    """MLflow takes 5,000 characters: sections that do not fit are left to the artifact."""
    text = card(make_facts())
    assert brief(text) == text
    checks = tuple(Check(f"slice kind={place}", Verdict.PASS, 0.5, -0.2, "better " * 20) for place in range(40))
    long = card(make_facts(judgement=Judgement(checks, Verdict.PASS, 2.0, 2.1, None, 160)))
    short = brief(long)
    assert len(long) > LETTERS >= len(short)
    assert "## Who approved it" in short and "## Gates" not in short
    assert short.endswith("card/card.md\n")
    assert len(brief("x" * 9000)) == LETTERS


def test_the_purpose_is_the_model_files(make_spec: Make) -> None:
    """Its description; without one, the first words of its docstring, and never those of another module."""
    iris = models.load("iris", PROJECT / "models").spec
    assert card_store.purpose(iris).startswith("The iris data set: three species")
    assert card_store.purpose(make_spec()) == ""
    assert card_store.purpose(make_spec(description="Lines.")) == "Lines."


@pytest.mark.parametrize(
    "tags", [{"evergreen.x": "1"}, {"model_validation_status": "PASSED"}, {"a": " "}, {"<a>": "b"}]
)
def test_tags_of_a_model_file_are_plain(make_spec: Make, tags: dict[str, str]) -> None:
    """A name that is Evergreen's or MLflow's own, one that MLflow refuses, and an empty value are mistakes."""
    with pytest.raises(ValidationError, match="tags"):
        make_spec(tags=tags)


def test_a_card_is_kept_with_its_version(
    registry: Registry, settings: Settings, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """An artifact, and the description until a person writes one; tags of the model file and by hand are in it."""
    spec = make_spec(tags={"owner": "the team", "seed": "not ours"}, description="Lines.")
    made = make_version(spec, make_rows(200))
    assert made.tags.raw["seed"] == "42"
    registry.client.set_registered_model_tag("toy", "contact", "someone")
    registry.client.set_registered_model_tag("toy", "owner", "nobody")
    assert descriptions.stated(registry, made) == {"owner": "the team", "seed": "not ours", "contact": "someone"}
    assert card_store.kept(registry, made) is None

    done = registry.conclude(
        made, Verdict.PASS, "gates", {"judgement": Judgement(CHECKS, Verdict.PASS, 2.0, None, None, 20).to_text()}
    )
    card_store.keep(settings, registry, spec, 1, spec_hash="spec")
    first = card_store.kept(registry, done)
    assert first is not None
    assert registry.get("toy", 1).description == first
    for words in ("Lines.", "| contact | someone |", "| owner | the team |", "| rows trained on | 160 |", "| x | 3."):
        assert words in first

    for phase in ("intent", "done"):
        Promotions(settings.lake_uri, "toy").write(replace(move(1, None, 1, "person"), phase=phase))
    word = replace(entry("approval", "promoted", "approved by a person: good"), id=made.tags.raw["decision_id"])
    Decisions(settings.lake_uri, "toy").record(word)
    card_store.keep(settings, registry, spec, 1, spec_hash="spec")
    again = registry.get("toy", 1)
    assert again.description == card_store.kept(registry, again) != first
    assert "approved by a person: good" in again.description

    registry.client.update_model_version("toy", "1", "My own words.")
    card_store.keep(settings, registry, spec, 1, spec_hash="other")
    assert registry.get("toy", 1).description == "My own words."
    assert "the model file was changed since" in (card_store.kept(registry, made) or "")


def test_a_version_without_its_files_or_run_has_a_card(
    registry: Registry, settings: Settings, make_spec: Make, make_rows: Make, make_version: Make
) -> None:
    """Damaged files and a run that MLflow has no more leave out what they held, and nothing else."""
    spec = make_spec()
    made = make_version(spec, make_rows(100))
    damaged = replace(made, tags=VersionTags.read({**made.tags.raw, "files_sha256": "other"}))
    facts = card_store.gather(settings, registry, spec, damaged)
    assert (facts.importance, facts.profile) == (None, {})
    gone = card_store.gather(settings, registry, spec, replace(made, run_id="0" * 32))
    assert gone.trained == Trained({}, {})
    assert "| Delta version | 1 |" in card(gone)
