"""Writes plain data as YAML that `hpf_core.documents.yaml` reads back without a difference."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from hpf_core.documents.environment import escape
from hpf_core.documents.yaml import resolve_scalar

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")


def to_yaml(document: Mapping[str, Any]) -> str:
    """Format plain data as YAML with an exact round trip; lists of scalars take one line."""
    writer = YAML(pure=True)
    writer.width = 1_000_000  # a long text takes one line
    writer.default_flow_style = False
    writer.Representer = _Representer
    writer.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    writer.dump(_styled(document), out)
    return out.getvalue()


class _Representer(RoundTripRepresenter):
    """Writes `null` explicitly, where ruamel would write nothing."""

    def represent_none(self, data: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


def _styled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return CommentedMap((_text(str(key)), _styled(child)) for key, child in value.items())
    if isinstance(value, list | tuple):
        items = CommentedSeq(_styled(child) for child in value)
        if not any(isinstance(child, Mapping | list | tuple) for child in value):
            items.fa.set_flow_style()
        return items
    return _text(escape(value)) if isinstance(value, str) else value


def _text(text: str) -> str:
    """Quote a text, unless it is a plain word that YAML 1.2 reads as text."""
    plain = _PLAIN.match(text) and isinstance(resolve_scalar(text), str)
    return text if plain else DoubleQuotedScalarString(text)
