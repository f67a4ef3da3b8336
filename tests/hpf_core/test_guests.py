"""Calls of plugins: what they raise names them, a signal alone interrupts, and stdout stays the command's."""

from __future__ import annotations

import io
import signal
import sys
from typing import Any

import pytest
import torch
from torch import nn

from hpf_core.errors import HPFError, InputError, PluginError, RunError
from hpf_core.guests import blamed, called, interrupts, name_of, stdout_held

WHO = name_of("data_term", "odd", "hpf-odd", "1.2")


class Odd(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.part = nn.Linear(1, 1)

    def forward(self) -> None:
        raise self.error


class Own(BaseException):
    """No Exception, as some libraries have them."""


ODD = [ValueError("not today"), SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Own()]


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_whatever_a_call_raises_names_the_plugin(error: BaseException) -> None:
    said = (
        rf"the data term 'odd' of hpf-odd 1\.2 failed to be built: {type(error).__name__}.*test_guests\.py, line \d+\)"
    )
    with pytest.raises(PluginError, match=said) as caught, called(WHO, "be built"):
        Odd(error)()
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_whatever_a_run_meets_in_a_plugin_names_it(error: BaseException) -> None:
    odd, other = Odd(error), Odd(error)
    plugins = [("another", other), (WHO, odd)]
    with pytest.raises(RunError, match=r"the data term 'odd' of hpf-odd 1\.2 failed: ") as caught, blamed(plugins):
        odd()
    assert caught.value.exit_code == 1


def test_a_part_of_a_plugin_is_the_plugins() -> None:
    odd = Odd(ValueError())
    with pytest.raises(RunError, match=r"the data term 'odd' .* failed: RuntimeError"), blamed([(WHO, odd)]):
        odd.part(torch.ones(3, 7))


def test_what_no_plugin_raised_stays_a_bug() -> None:
    with pytest.raises(ZeroDivisionError), blamed([(WHO, Odd(ValueError()))]):
        1 / 0  # noqa: B018


def test_nothing_ends_a_run_with_success() -> None:
    with pytest.raises(RunError, match="a plugin ended the run: SystemExit: 0"), blamed([]):
        sys.exit(0)


@pytest.mark.parametrize("error", [InputError("say so"), RunError("say so")])
def test_what_a_plugin_says_itself_is_passed_on(error: HPFError) -> None:
    for around in (called(WHO, "be built"), blamed([(WHO, Odd(error))])):
        with pytest.raises(type(error), match=r"^say so$"), around:
            Odd(error)()


@pytest.mark.parametrize("around", [called(WHO, "be built"), blamed([(WHO, Odd(ValueError()))])])
def test_memory_is_nobodys_fault(around: Any) -> None:
    with pytest.raises(MemoryError), around:
        raise MemoryError


def test_a_signal_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, called(WHO, "be built"):
        signal.raise_signal(signal.SIGINT)
    assert interrupts(caught.value)


def test_a_signal_that_is_raised_again_is_one() -> None:
    def cleans_up() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise

    with pytest.raises(KeyboardInterrupt) as caught, called(WHO, "be built"):
        cleans_up()
    assert interrupts(caught.value)


def test_sigterm_as_a_run_takes_it_is_one() -> None:
    from hpf_core.engine.interrupt import terminable

    with terminable(), pytest.raises(KeyboardInterrupt), called(WHO, "be built"):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("spoil", ["print", "None", "close", "another"])
def test_standard_output_stays_as_it_was(spoil: str, capsys: pytest.CaptureFixture[str]) -> None:
    with stdout_held():
        if spoil == "print":
            print("a banner", flush=True)
        elif spoil == "close":
            sys.stdout.close()
        else:
            sys.stdout = None if spoil == "None" else io.StringIO()  # type: ignore[assignment]
    print("{}")
    out, err = capsys.readouterr()
    assert out == "{}\n"
    assert err == ("a banner\n" if spoil == "print" else "")
