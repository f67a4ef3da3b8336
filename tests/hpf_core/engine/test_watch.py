"""Observers: what a run tells them, in which order; one that raises is reported once, and no run ends by it."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from hpf_core.engine.watch import ObserverWarning, Watchers
from hpf_core.interfaces import Observer
from hpf_core.testing.onlookers import EVENTS, story


class Diary(Observer):
    """Writes down every event, by whatever name."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []


def _noting(event: str) -> Any:
    def note(self: Diary, *details: Any) -> None:
        self.told.append((event, *details))

    return note


for _event in EVENTS:
    setattr(Diary, _event, _noting(_event))


def _raising(event: str, error: BaseException) -> Observer:
    def fail(*details: Any) -> None:
        raise error

    observer = Observer()
    setattr(observer, event, fail)
    return observer


def _everything(folder: Path) -> list[tuple[str, tuple[Any, ...]]]:
    return [*story(folder, fails=False), story(folder, fails=True)[-1]]


def _tell_all(watch: Watchers, story: list[tuple[str, tuple[Any, ...]]]) -> None:
    for event, details in story:
        watch.tell(event, *details)


def test_the_story_of_the_contract_has_every_event(tmp_path: Path) -> None:
    told = _everything(tmp_path)
    assert {event for event, _ in told} == set(EVENTS)
    for event, details in told:
        inspect.signature(getattr(Observer, event)).bind(None, *details)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("error", [ValueError("no room"), SystemExit(3)], ids=["raises", "exits"])
def test_an_observer_that_fails_is_reported_once_and_switched_off(
    event: str, error: BaseException, tmp_path: Path
) -> None:
    one, other = Diary(), Diary()
    broken = _raising(event, error)
    watch = Watchers([one], [("bell", broken), ("diary", other)])
    with pytest.warns(ObserverWarning) as found:
        _tell_all(watch, [*_everything(tmp_path), *_everything(tmp_path)])
    (warning,) = found
    place = r" \(test_watch\.py, line \d+\)"
    reason = f"{event} raised {type(error).__name__}: {error}"
    assert re.fullmatch(rf"observer 'bell' is disabled for the rest of the run: {reason}{place}", str(warning.message))
    assert [row[0] for row in one.told] == [row[0] for row in other.told]
    assert len(one.told) == 2 * len(_everything(tmp_path))


def test_the_callers_own_observers_are_called_by_their_class() -> None:
    class Bell(Observer):
        def stage_started(self, stage: str) -> None:  # type: ignore[override]
            raise AssertionError("isn't reached: its signature is another")

    watch = Watchers([Bell()])
    with pytest.warns(ObserverWarning, match=r"observer Bell is .* raised TypeError: .* 4 were given$"):
        watch.tell("stage_started", "fit", 8, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.tell("stage_started", "fit", 8, 0)


@pytest.mark.parametrize("event", EVENTS)
def test_a_keyboard_interrupt_passes(event: str, tmp_path: Path) -> None:
    watch = Watchers([_raising(event, KeyboardInterrupt())])
    with pytest.raises(KeyboardInterrupt):
        _tell_all(watch, _everything(tmp_path))


def test_each_has_documents_of_its_own() -> None:
    class Greedy(Observer):
        def step_done(self, stage: str, step: int, metrics: Any) -> None:
            metrics["raw"].clear()

    diary = Diary()
    row = {"raw": {"m2d": 1.0}}
    Watchers([Greedy(), diary]).tell("step_done", "fit", 1, row)
    assert row == {"raw": {"m2d": 1.0}}
    assert diary.told == [("step_done", "fit", 1, row)]
