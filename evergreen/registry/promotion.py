"""Moving the champion alias: under a lock, written down before and after, one write, read back.

An intent in the log without an end is settled by whoever comes next, so that a process killed at any point leaves
nothing that a rerun does not finish.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime

from evergreen.decision import decision_id
from evergreen.details.decision import Outcome
from evergreen.errors import ArtifactError, BusyError, EvergreenError, RefusedError, RegistryError
from evergreen.ledger.promotions import Action, Move, Phase, PromotionLog, moved_elsewhere
from evergreen.registry.loss import deleted_champion
from evergreen.registry.model_registry import ModelRegistry, StoredVersions
from evergreen.registry.version import CHALLENGER, CHAMPION, DECLINED, DECLINED_BY, PREVIOUS, Version
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

Lock = AbstractContextManager[object]
"""The model's promotion lock, not held yet; `contextlib.nullcontext` where nobody else can move anything."""


def promote(
    spec: ModelSpec,
    registry: ModelRegistry,
    promotions: PromotionLog,
    version: Version,
    *,
    reason: str,
    by: str,
    now: datetime,
    lock: Lock,
) -> Move | None:
    """Make a version that passed its gates the champion, under the model's promotion lock; None where it is already.

    Raises:
        BusyError: another process moves the champion.
        RefusedError: it did not pass, was rolled back, or the champion is not the one it was judged against.
        ArtifactError: its stored files are not what was registered.
    """
    with lock:
        _settle(registry, promotions, now=now)
        seen = len(promotions.all())
        champion = registry.champion(spec.name)
        require_consistent(registry, champion, promotions)
        if champion is not None and champion.number == version.number:
            _drop_challenger(registry, spec.name, version.number)
            return None
        _require_promotable(version, champion)
        registry.require_intact(version, spec)
        before = champion.number if champion else None
        return _move("promote", before, version, registry, promotions, seen=seen, reason=reason, by=by, now=now)


def promote_if_passed(
    spec: ModelSpec,
    registry: ModelRegistry,
    promotions: PromotionLog,
    version: Version,
    verdict: Verdict,
    *,
    reason: str,
    now: datetime,
    lock: Lock,
) -> Outcome:
    """Promote a version that passed its gates; without automatic approval it stays challenger and waits.

    A first champion meets no traffic before: there is nothing to hold it against.

    Raises:
        BusyError, RefusedError, ArtifactError: as in `promote`.
    """
    champion = registry.champion(spec.name)
    if champion is not None and champion.number == version.number:
        return "promoted"
    if verdict is not Verdict.PASS:
        return "rejected" if verdict is Verdict.FAIL else "inconclusive"
    registry.set_alias(spec.name, CHALLENGER, version.number)
    if spec.approval.mode == "manual":
        return "awaiting-approval"
    if spec.approval.mode == "canary" and champion is not None:
        return "in-canary"
    passed = registry.get(spec.name, version.number)
    try:
        promote(spec, registry, promotions, passed, reason=reason, by="retrain", now=now, lock=lock)
    except RefusedError:
        _drop_challenger(registry, spec.name, version.number)
        raise
    return "promoted"


def roll_back(
    spec: ModelSpec,
    registry: ModelRegistry,
    promotions: PromotionLog,
    to: int | None,
    *,
    reason: str,
    by: str,
    now: datetime,
    lock: Lock,
    undoes: str | None = None,
) -> Move:
    """Give the alias back to the previous champion, or to a named version that once passed its gates.

    It does not need the present champion: its files may be damaged, its version deleted, its alias moved by hand. With
    `undoes`, the id of a promotion, it is done only while that one still is the last move.

    Raises:
        BusyError: another process moves the champion.
        RefusedError: another move came after the promotion that was to be undone.
        RegistryError: there never was a champion, there is nothing to go back to, or the version never passed.
        ArtifactError: the stored files of the version are not what was registered.
    """
    with lock:
        _settle(registry, promotions, now=now)
        seen = len(promotions.all())
        champion, logged = registry.champion(spec.name), promotions.champion()
        present = champion.number if champion else None
        if undoes is not None:
            _require_last(spec.name, promotions, undoes, present)
        if present is None and not promotions.done():
            raise RegistryError(f"{spec.name} has no champion to roll back.", f"Run: evergreen retrain {spec.name}")
        target = registry.by_alias(spec.name, PREVIOUS) if to is None else registry.get(spec.name, to)
        if target is None:
            number = present or logged or promotions.done()[-1].before
            raise RegistryError(f"{spec.name}: version {number} has no predecessor.", "Name one with --to VERSION.")
        if target.number == present == logged:
            raise RegistryError(f"{target.label} is the champion already.", "Name another one with --to VERSION.")
        if target.status != "PASSED":
            raise RegistryError(f"{target.label} never passed its gates ({target.status}).", "Choose one that did.")
        registry.require_intact(target, spec)
        before = logged if present is None or present == target.number else present
        return _move("rollback", before, target, registry, promotions, seen=seen, reason=reason, by=by, now=now)


def accept_loss(
    spec: ModelSpec,
    registry: ModelRegistry,
    versions: StoredVersions,
    promotions: PromotionLog,
    *,
    reason: str,
    by: str,
    now: datetime,
    lock: Lock,
) -> Move:
    """Go on without a champion, because the one that the log names is gone: its version, its run or its files.

    The next version that passes the gates of a first champion is promoted. A rollback is possible as before.

    Raises:
        BusyError: another process moves the champion.
        RefusedError: there is no champion, or it is whole.
        ModelFileError: the champion holds a type that the model file does not trust, which is no loss.
    """
    with lock:
        _settle(registry, promotions, now=now)
        seen = len(promotions.all())
        champion, logged = registry.champion(spec.name), promotions.champion()
        number = logged or (champion.number if champion else None)
        if number is None:
            raise RefusedError(f"{spec.name} has no champion to be lost.", f"Run: evergreen retrain {spec.name}")
        version = registry.lookup(spec.name, number)
        if version is not None and _is_whole(registry, versions, version, spec):
            raise RefusedError(
                f"{version.label} is not lost: its run and its files are what was registered.",
                f"To go back to another version: evergreen rollback {spec.name} --to VERSION --reason TEXT",
            )
        return _move("loss", number, None, registry, promotions, seen=seen, reason=reason, by=by, now=now)


def _is_whole(registry: ModelRegistry, versions: StoredVersions, version: Version, spec: ModelSpec) -> bool:
    try:
        registry.require_stored(version)
        registry.require_intact(version, spec)
        versions.files(version)
    except ArtifactError:
        return False
    return True


def settle(registry: ModelRegistry, promotions: PromotionLog, *, now: datetime, lock: Lock) -> Move | None:
    """Finish a move that a killed process left behind; returns its end, None where there is nothing to settle."""
    if promotions.open() is None:
        return None
    with lock:
        return _settle(registry, promotions, now=now)


def require_consistent(registry: ModelRegistry, champion: Version | None, promotions: PromotionLog) -> None:
    """Refuse to go on when the log and the registry do not name the same champion.

    A move that is under way, or that a killed process left, is no disagreement.

    Raises:
        LostError: the version is deleted.
        RegistryError: the alias was moved or taken away by hand, or the database replaced.
    """
    model, logged = promotions.model, promotions.champion()
    present = champion.number if champion else None
    if present == logged:
        return
    begun = promotions.open()
    if begun is not None and present in (begun.before, begun.after):
        return
    if logged is not None and registry.lookup(model, logged) is None:
        raise deleted_champion(model, promotions.done()[-1])
    says = f"version {logged}" if logged else "none"
    has = f"version {present}" if present else "none"
    fix = f"Restore the registry, or choose a version: evergreen rollback {model} --to VERSION --reason TEXT"
    raise RegistryError(f"The log says that the champion of {model} is {says}, and the registry has {has}.", fix)


def _settle(registry: ModelRegistry, promotions: PromotionLog, *, now: datetime) -> Move | None:
    """Under the lock. What can no longer be carried out is aborted, so that it does not stand in the way for ever."""
    move, model = promotions.open(), promotions.model
    if move is None:
        return None
    champion = registry.champion(model)
    present = champion.number if champion else None
    deleted = move.after is not None and registry.lookup(model, move.after) is None
    if present not in (move.before, move.after) or deleted:
        if champion is not None and move.action == "rollback" and present == move.before:
            # The version to go back to was deleted after the champion was marked: it stays, and unmarked.
            registry.untag(champion, "rolled_back")
        return _end(move, "aborted", promotions, now)
    _carry_out(move, registry, promotions)
    return _end(move, "done", promotions, now)


def _move(
    action: Action,
    before: int | None,
    after: Version | None,
    registry: ModelRegistry,
    promotions: PromotionLog,
    *,
    seen: int,
    reason: str,
    by: str,
    now: datetime,
) -> Move:
    """Intent, the move itself, done; `after` is None where the champion is lost.

    The move was decided by what the log said in its first `seen` lines, and is not begun after any other.
    """
    line = str(seen + 1)
    move = Move(
        id=decision_id(promotions.model, before, action, str(after.number if after else None), line),
        at=now,
        action=action,
        phase="intent",
        before=before,
        after=after.number if after else None,
        reason=reason,
        decision_id=after.tags.decision_id if after else "",
        by=by,
        sha256=after.tags.sha256 if after else "",
        trusted=after.tags.trusted if after else None,
        judged_sha256=after.tags.judged_sha256 if after else "",
    )
    promotions.write(move, after=seen)
    _carry_out(move, registry, promotions)
    try:
        end = _end(move, "done", promotions, now)
        if promotions.all()[-1].id != move.id:
            raise moved_elsewhere(promotions.model)
    except BusyError:
        _follow_log(registry, promotions)
        raise
    return end


def _follow_log(registry: ModelRegistry, promotions: PromotionLog) -> None:
    """Set the alias to what the log says, unless a move is under way that does so itself.

    Whoever took a move for abandoned may have ended it, and made the next one, before the alias was moved here. MLflow
    has no compare-and-set; the log has, and the alias follows it.
    """
    if promotions.open() is not None:
        return
    champion = promotions.champion()
    if champion is not None:
        registry.set_alias(promotions.model, CHAMPION, champion)
    else:
        registry.drop_alias(promotions.model, CHAMPION)


def _carry_out(move: Move, registry: ModelRegistry, promotions: PromotionLog) -> None:
    """Every write here may be made twice. The champion moves in one write, after everything that it depends on."""
    model = promotions.model
    if move.after is None:
        if registry.champion(model) is not None:
            registry.drop_alias(model, CHAMPION)
        return
    before = None if move.before is None else registry.lookup(model, move.before)
    if before is not None and move.action == "rollback":
        registry.tag(before, "rolled_back", move.reason)
    elif before is not None:
        registry.set_alias(model, PREVIOUS, before.number)
    registry.set_alias(model, CHAMPION, move.after)
    champion = registry.champion(model)
    if champion is None or champion.number != move.after:
        raise RegistryError(f"{model}: the champion alias does not read back as version {move.after}.", "Run it again.")
    _drop_challenger(registry, model, move.after)
    registry.untag(champion, DECLINED)
    registry.untag(champion, DECLINED_BY)
    if move.action == "rollback":
        # Whoever asked for it vouches for it again.
        registry.untag(champion, "rolled_back")
        _restore_previous(move, registry, promotions)


def _drop_challenger(registry: ModelRegistry, model: str, number: int) -> None:
    """A version that is champion, or cannot become it, is no challenger."""
    challenger = registry.by_alias(model, CHALLENGER)
    if challenger is not None and challenger.number == number:
        registry.drop_alias(model, CHALLENGER)


def _restore_previous(move: Move, registry: ModelRegistry, promotions: PromotionLog) -> None:
    """After a rollback, `previous` is what the new champion had replaced, if that can still be gone back to."""
    model = promotions.model
    promoted = [entry for entry in promotions.done() if entry.action == "promote" and entry.after == move.after]
    number = promoted[-1].before if promoted else None
    before = None if number is None else registry.lookup(model, number)
    if before is not None and before.tags.rolled_back is None:
        registry.set_alias(model, PREVIOUS, before.number)
    elif registry.by_alias(model, PREVIOUS) is not None:
        registry.drop_alias(model, PREVIOUS)


def _require_last(model: str, promotions: PromotionLog, promotion: str, present: int | None) -> None:
    done = promotions.done()
    if not done or done[-1].id != promotion or done[-1].after != present:
        raise RefusedError(f"{model}: the champion was moved since that promotion.", f"See: evergreen history {model}")


def _require_promotable(version: Version, champion: Version | None) -> None:
    if version.tags.refused is not None:
        raise RefusedError(
            f"{version.label} was refused by its canary: {version.tags.refused}",
            f"Retrain: evergreen retrain {version.model}",
        )
    if version.status != "PASSED":
        raise RefusedError(
            f"{version.label} may not be promoted: its gates say {version.status}.",
            "Retrain, or choose another version.",
        )
    if version.tags.rolled_back is not None:
        raise RefusedError(
            f"{version.label} was rolled back: {version.tags.rolled_back}",
            f"To bring it back: evergreen rollback {version.model} --to {version.number} --reason TEXT",
        )
    judged = version.tags.compared_with
    present = str(champion.number) if champion else "none"
    if judged != present:
        raise RefusedError(
            f"{version.label} was judged against champion {judged}, and the champion is {present} now.",
            f"Retrain: evergreen retrain {version.model}",
        )


def _end(move: Move, phase: Phase, promotions: PromotionLog, now: datetime) -> Move:
    end = replace(move, at=now, phase=phase)
    promotions.write(end)
    return end


def require_reason(reason: str) -> str:
    """A reason that says something.

    Raises:
        EvergreenError: it is empty.
    """
    if not reason.strip():
        raise EvergreenError("The reason is empty.", "Say why: --reason TEXT")
    return reason.strip()
