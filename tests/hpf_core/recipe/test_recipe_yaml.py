"""YAML 1.2 with places, and texts that mean harm."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpf_core.documents.environment import substitute
from hpf_core.documents.errors import InvalidRecipe
from hpf_core.documents.tree import Node, Source
from hpf_core.documents.writer import to_yaml
from hpf_core.documents.yaml import MOST_BYTES, decode, parse, split_lines


def read(text: str) -> Node:
    return parse(text, Source("f.yaml", split_lines(text)))


def refused(text: str) -> str:
    with pytest.raises(InvalidRecipe) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("2.", 2.0),
        (".5", 0.5),
        ("-7", -7),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ('"1e-4"', "1e-4"),
        ("!!str 1e-4", "1e-4"),
        ("! 1", "1"),
        ("!!float 3", 3),
    ],
)
def test_scalars_are_yaml_1_2(text: str, value: object) -> None:
    found = read(f"a: {text}").plain()["a"]
    assert found == value
    assert type(found) is type(value)


def test_values_know_their_place_also_behind_an_alias() -> None:
    tree = read("a: &x\n  b: [1, 2]\nc: *x\n")
    two = tree.entries["c"].entries["b"].items[1]
    assert (two.value, two.at.line, two.at.column) == (2, 2, 10)
    key = tree.entries["c"].key_at
    assert key is not None
    assert (key.line, key.column) == (3, 1)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: 1\nb: 2\na: 3", "3:1", "the key 'a' is already in line 1"),
        ("a-b: 1\na_b: 3", "2:1", "the key 'a_b' is the same name as 'a-b'"),
        ("a: .nan", "1:4", ".nan is no number"),
        ("a: [1, -.inf]", "1:8", "-.inf is no number"),
        ("a: 1e999", "1:4", "too large"),
        ("a: " + "9" * 5000, "1:4", "a number of 5000 characters"),
        ("a: !!python/object:os.system x", "1:4", "the tag !!python/object:os.system is not allowed"),
        ("a: !mine {}", "1:4", "the tag !mine is not allowed"),
        ("a: !!int x", "1:4", "the tag !!int is not allowed here"),
        ("a: !!set {}", "1:4", "the tag !!set is not allowed"),
        ("%YAML 1.1\n---\na: 1", "2:1", "only YAML 1.2 is read"),
        ("a: 1\n---\nb: 2", "2:1", "a second document"),
        ("a:\n\t- b", "2:1", "a tab"),
        ("a: b: c", "1:5", "an unexpected ':'"),
        ("- a\nb: 2", "2:1", "Check its indentation"),
        ("a: {b: 1", "1:9", "the text ends inside brackets"),
        ("a: 'x", "1:6", "the text ends inside brackets or quotes"),
        ("a: @x", "1:4", "Quote the text"),
        ("a: }", "1:4", "not YAML"),
        ("1: 2", "1:1", "Quote 1 if it is a name"),
        ("? [a]\n: 2", "1:3", "a key is text"),
        ("<<: {a: 1}", "1:1", "extends: other.yaml"),
        ("a: *b", "1:4", "*b names no anchor"),
        ("a: &a [*a]", "1:8", "inside of its own anchor"),
        ('a: "\\ud800"', "1:4", "surrogate"),
        ('a: "\\UFFFFFFFF"', "1:1", "not YAML"),
        ("a: \x07b", "1:4", "is not allowed in YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, place: str, said: str) -> None:
    message = refused(text)
    assert message.startswith(f"f.yaml:{place}: ")
    assert said in message


def test_the_caret_stands_below_the_fault_also_in_a_long_line() -> None:
    for text in ("a: 1\nab: {c: .nan}", "a: [" + "1, " * 500 + ".nan, " + "2, " * 500 + "]"):
        _, excerpt, caret = refused(text).splitlines()
        assert excerpt[caret.index("^") :].startswith(".nan")
        assert len(excerpt) < 120


def test_nesting_is_limited_also_through_aliases() -> None:
    assert read("[" * 39 + "1" + "]" * 39).plain() != []
    assert "nested more than 40 deep" in refused("[" * 40 + "1" + "]" * 40)
    assert "nested more than 40 deep" in refused("[" * 100_000)
    thirty = "[" * 30 + "1" + "]" * 30
    assert "the alias *x expanded" in refused(f"a: &x {thirty}\nb: {'[' * 10}*x{']' * 10}")


def test_an_anchor_bomb_is_refused_at_once() -> None:
    lines = ["a: &a [" + ",".join(["boom"] * 10) + "]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    start = time.process_time()
    assert "aliases (*name) expanded" in refused("\n".join(lines))
    assert time.process_time() - start < 2


def test_a_large_but_modest_file_is_read_and_too_many_values_are_not() -> None:
    assert len(read("- 1\n" * 2000).items) == 2000
    assert "more than 100000 values" in refused("a: &x [" + "1," * 1000 + "]\nb: [" + "*x," * 100 + "]")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: 1\nb: \xff\n", "f.yaml:2: byte 0xff is not UTF-8"),
        ("a: 1".encode("utf-16"), "is UTF-16"),
        (b"#" * (MOST_BYTES + 1), "larger than the limit of 1000 kB"),
    ],
)
def test_only_utf_8_of_a_modest_size(data: bytes, said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        decode(data, "f.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read(decode("a: é".encode("utf-8-sig"), "f.yaml")).plain() == {"a": "é"}


fragments = st.lists(
    st.sampled_from(
        [*"ab01:-?[]{},&*!|>'\"%@`#~.\\\t\n \r", "\n  ", ": ", "- ", "!!", "\\U", "---\n", "...", "\u2028"]
    ),
    max_size=30,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.one_of(fragments, st.text(max_size=40)))
def test_any_text_is_a_tree_or_a_clear_refusal(text: str) -> None:
    try:
        tree = read(text)
    except InvalidRecipe:  # and no other error
        return
    assert all(1 <= node.at.line <= len(split_lines(text)) + 1 for _, node in tree.walk())


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["on", "off", "1e-4", "null", "~", "${HOME}", "$${", "a: b", "- a", "#x", "", " x", "x\n", "0o7"]),
)
keys = st.text(alphabet="abcdefghij_é 1.", min_size=1, max_size=6)
documents = st.dictionaries(
    keys,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(documents)
def test_what_is_written_is_read_back_to_the_last_bit(document: dict[str, object]) -> None:
    text = to_yaml(document)
    found = substitute(read(text), {"HOME": "/home"}).plain()
    assert found == document
    assert repr(found) == repr(document)  # tells 1 from 1.0 and from true, and 0.0 from -0.0


def test_floats_are_written_as_numbers() -> None:
    assert read(to_yaml({"a": 1e-7, "b": 1e22})).plain() == {"a": 1e-7, "b": 1e22}
    assert math.copysign(1, read(to_yaml({"a": -0.0})).plain()["a"]) == -1
