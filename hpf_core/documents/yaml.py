"""Parses YAML 1.2 into a tree with lines and columns. Limits protect against texts that would exhaust memory.

ruamel's pure parser yields events, and this module builds the tree. This way it can count the values of expanded
aliases, refuse duplicate keys at their line, and resolve scalars by YAML 1.2's core schema (`1e-4` is a number, `off` a
text: https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamStartEvent,
)

from hpf_core.documents.errors import fail
from hpf_core.documents.tree import Node, Origin, Scalar, Source, canonical, shorten

MOST_BYTES = 1_000_000
MOST_NODES = 100_000
MOST_DEPTH = 40
_MOST_DIGITS = 64

_CORE = "tag:yaml.org,2002:"
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.2.2, 5.1
_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")


def decode(data: bytes, name: str) -> str:
    """Decode a file's bytes.

    Raises:
        InvalidRecipe: the text is not UTF-8, or too large.
    """
    if len(data) > MOST_BYTES:
        fail(f"{name}: larger than the limit of {MOST_BYTES // 1000} kB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        fail(f"{name}: is UTF-16, but UTF-8 is expected")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        fail(f"{name}:{line}: byte 0x{byte:02x} is not UTF-8, and only UTF-8 is read")


def split_lines(text: str) -> tuple[str, ...]:
    """Split a text at YAML 1.2's line breaks."""
    return tuple(_LINE_BREAK.split(text))


def parse(text: str, source: Source) -> Node:
    """Parse a text with one document into a tree.

    Raises:
        InvalidRecipe: bad syntax, a tag, a duplicate key, a number that is not finite, too deep, too many values.
    """
    bad = _UNPRINTABLE.search(text)
    if bad:
        before = _LINE_BREAK.split(text[: bad.start()])
        at = Origin(source, len(before), len(before[-1]) + 1)
        fail(f"the character {bad.group()!a} is not allowed in YAML", at=at)
    builder = _Builder(text, source)
    try:
        return builder.document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _syntax_error(error.problem or error.context or "not YAML", None if mark is None else builder.origin(mark))
    except (YAMLError, ValueError, OverflowError, IndexError, AttributeError, TypeError, AssertionError) as error:
        # For some malformed texts, such as an escape beyond Unicode, ruamel raises Python's own errors.
        _syntax_error(f"malformed near here ({shorten(str(error).partition(chr(10))[0])})", builder.last)


def _syntax_error(problem: str, at: Origin | None) -> NoReturn:
    hint = ""
    if "'\\t'" in problem or "tab" in problem.split():
        problem, hint = "a tab in the indentation", "Indent with spaces."
    elif "mapping values are not allowed" in problem:
        problem, hint = "an unexpected ':'", "Quote the text, or start a new line."
    elif "<block end>" in problem:
        problem, hint = "this line does not continue the lines above it", "Check its indentation."
    elif "cannot start any token" in problem:
        hint = "Quote the text."
    elif "<stream end>" in problem or "end of stream" in problem:
        problem = "the text ends inside brackets or quotes"
    fail(f"not YAML: {problem}", at=at, hint=hint)


class _Counted(NamedTuple):
    """A node with its number of expanded nodes and its depth."""

    node: Node
    size: int
    height: int


class _Builder:
    """Builds the tree of one document from events."""

    def __init__(self, text: str, source: Source) -> None:
        self.source = source
        self.last = Origin(source)
        self._events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
        self._anchors: dict[str, _Counted | None] = {}  # None while the anchored value is unfinished
        self._count = 0

    def origin(self, mark: Any) -> Origin:
        return Origin(self.source, mark.line + 1, mark.column + 1)

    def document(self) -> Node:
        event = self._next()
        if isinstance(event, StreamStartEvent):
            event = self._next()
        if not isinstance(event, DocumentStartEvent):
            return Node(None, Origin(self.source))  # only blanks and comments
        if event.version is not None and tuple(event.version) != (1, 2):
            fail("the %YAML directive asks for another version; only YAML 1.2 is read", at=self.last)
        node = self._node(self._next(), 1).node
        self._next()  # the document's end
        if isinstance(self._next(), DocumentStartEvent):
            fail("a second document starts here, but only one per file is allowed", at=self.last)
        return node

    def _next(self) -> Any:
        event = next(self._events)
        self.last = self.origin(event.start_mark)
        return event

    def _node(self, event: Any, depth: int) -> _Counted:
        at = self.last
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, at, depth)
        self._count_one(1, at)
        if depth > MOST_DEPTH:
            fail(f"nested more than {MOST_DEPTH} deep", at=at)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, ScalarEvent):
            built = _Counted(Node(self._scalar(event, at), at), 1, 1)
        elif isinstance(event, SequenceStartEvent):
            self._check_tag(event.tag, "seq", at)
            built = self._sequence(at, depth)
        elif isinstance(event, MappingStartEvent):
            self._check_tag(event.tag, "map", at)
            built = self._mapping(at, depth)
        else:
            fail("a value is missing here", at=at)
        if event.anchor is not None:
            self._anchors[event.anchor] = built
        return built

    def _count_one(self, nodes: int, at: Origin) -> None:
        self._count += nodes
        if self._count > MOST_NODES:
            fail(f"more than {MOST_NODES} values, aliases (*name) expanded", at=at)

    def _alias(self, name: str, at: Origin, depth: int) -> _Counted:
        if name not in self._anchors:
            fail(f"the alias *{shorten(name)} names no anchor before it", at=at)
        known = self._anchors[name]
        if known is None:
            fail(f"the alias *{shorten(name)} is inside of its own anchor &{shorten(name)}", at=at)
        self._count_one(known.size, at)
        if depth + known.height - 1 > MOST_DEPTH:
            fail(f"nested more than {MOST_DEPTH} deep, the alias *{shorten(name)} expanded", at=at)
        return known

    def _sequence(self, at: Origin, depth: int) -> _Counted:
        items: list[Node] = []
        size, height = 1, 1
        while not isinstance(event := self._next(), SequenceEndEvent):
            item = self._node(event, depth + 1)
            items.append(item.node)
            size, height = size + item.size, max(height, item.height + 1)
        return _Counted(Node(tuple(items), at), size, height)

    def _mapping(self, at: Origin, depth: int) -> _Counted:
        entries: dict[str, Node] = {}
        seen: dict[str, tuple[str, Origin]] = {}
        size, height = 1, 1
        while not isinstance(event := self._next(), MappingEndEvent):
            key_at = self.last
            key = self._key(event, depth, key_at)
            if canonical(key) in seen:
                other, first = seen[canonical(key)]
                same = "is" if other == key else f"is the same name as {other!r}, which is"
                fail(f"the key {shorten(repr(key))} {same} already in line {first.line}", at=key_at)
            seen[canonical(key)] = (key, key_at)
            value = self._node(self._next(), depth + 1)
            entries[key] = replace(value.node, key_at=key_at)
            size, height = size + value.size, max(height, value.height + 1)
        return _Counted(Node(entries, at), size, height)

    def _key(self, event: Any, depth: int, at: Origin) -> str:
        key = self._node(event, depth + 1).node.value
        if not isinstance(key, str):
            scalar = isinstance(event, ScalarEvent) and event.value
            fail("a key is text", at=at, hint=f"Quote {shorten(event.value)} if it is a name." if scalar else "")
        if key == "<<":
            fail(
                "'<<' is not part of YAML 1.2",
                at=at,
                hint="Write the keys out; a recipe has `extends: other.yaml`.",
            )
        return key

    def _check_tag(self, tag: str | None, expected: str, at: Origin) -> None:
        if tag is not None and tag != "!" and tag != _CORE + expected:
            fail(f"the tag {_tag_text(tag)} is not allowed: only plain values are read", at=at)

    def _scalar(self, event: ScalarEvent, at: Origin) -> Scalar:
        text, tag = str(event.value), event.tag
        try:
            text.encode()
        except UnicodeEncodeError:
            fail(f"half of a surrogate pair is no character: {shorten(ascii(text))}", at=at)
        if tag in ("!", _CORE + "str") or (tag is None and event.style):
            return text
        value = resolve_scalar(text, at)
        kinds = {"null": type(None), "bool": bool, "int": int, "float": (int, float)}
        name = None if tag is None else tag.removeprefix(_CORE)
        if name is not None and (name not in kinds or not isinstance(value, kinds[name])):  # type: ignore[arg-type]
            fail(f"the tag {_tag_text(tag or '')} is not allowed here: only plain values are read", at=at)
        return value


def _tag_text(tag: str) -> str:
    return shorten("!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag)


def resolve_scalar(text: str, at: Origin | None = None) -> Scalar:
    """Resolve a plain scalar by YAML 1.2's core schema.

    Raises:
        InvalidRecipe: the number is not finite or absurdly long.
    """
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    if _NOT_FINITE.match(text):
        fail(f"{text} is no number here: only finite numbers are allowed", at=at)
    if not _FLOAT.match(text) and not _INT.match(text):
        return text
    if len(text) > _MOST_DIGITS:
        fail(f"a number of {len(text)} characters", at=at)
    if _INT.match(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        fail(f"{text} is too large for a number", at=at)
    return number
