"""The JSON schema for editors: whole, and true to what the loader takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from hpf_core.documents.tree import Source
from hpf_core.documents.yaml import parse
from hpf_core.plugins import PluginHost
from hpf_core.plugins.schema import recipe_schema
from hpf_core.recipe import Resolved

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """The part of JSON Schema that recipes use, without the bounds of numbers."""
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        if not accepts(target, value, root):
            return False
    if "anyOf" in schema and not any(accepts(branch, value, root) for branch in schema["anyOf"]):
        return False
    if "not" in schema and accepts(schema["not"], value, root):
        return False
    if "enum" in schema and not any(value == legal and type(value) is type(legal) for legal in schema["enum"]):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "type" in schema:
        expected = _TYPES[schema["type"]]
        if not isinstance(value, expected) or (isinstance(value, bool) and schema["type"] not in ("boolean", "null")):
            return False
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, list) and "items" in schema:
        return all(accepts(schema["items"], item, root) for item in value)
    if isinstance(value, dict):
        if any(key not in value for key in schema.get("required", [])):
            return False
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for key, item in value.items():
            rest = [inner for pattern, inner in patterns.items() if re.search(pattern, key)]
            rest.append(schema.get("additionalProperties", True))
            inner = properties.get(key, rest[0])
            if inner is False or (isinstance(inner, dict) and not accepts(inner, item, root)):
                return False
    return True


@pytest.fixture(scope="module")
def schema(host: PluginHost) -> dict[str, Any]:
    made = recipe_schema(host)
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def plain(text: str) -> Any:
    return parse(text, Source("x")).plain()


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema)))
    assert references
    assert references <= set(schema["$defs"])


def test_it_takes_recipes_as_written_and_as_resolved(
    schema: dict[str, Any], recipe: str, resolve: Callable[..., Resolved]
) -> None:
    assert accepts(schema, plain(recipe), schema)
    assert accepts(schema, resolve(recipe, without_terms=["agreement"]).document(), schema)


@pytest.mark.parametrize(
    "text",
    [
        "extends: x.yaml",
        "backbone: {stacks: 3}",
        "backbone: {use: tower, noise: {kind: uniform}}",
        "stages: {fit: {steps: 3}}",
        "terms: {bone-length: off, bone_length_: {use: bone-length, weight: 1}, mean-agreement: on, labels: null}",
        "terms: {strict: {use: bone_length, slack: 3}}",
        "data: {real: null, synthetic: {root: x}}",
        "transforms: [jitter, {use: jitter, amount: 3}]",
    ],
)
def test_it_takes_parts_that_extend_others(schema: dict[str, Any], text: str) -> None:
    assert accepts(schema, plain(text), schema)


@pytest.mark.parametrize(
    "text",
    [
        "stage: {}",
        "backbone: towr",
        "backbone: {use: tower, stack: 3}",
        "backbone: {use: tower, stacks: many}",
        "backbone: {use: tower, noise: {kind: gaus}}",
        "stages: {fit: {step: 3}}",
        "stages: {fit: {terms: labels}}",
        "terms: {bone-length: {slak: 3}}",
        "terms: {bone-length: maybe}",
        "terms: {strict: {use: bone_length, slak: 3}}",
        "transforms: [jiter]",
        "evaluate: {split: 3}",
    ],
)
def test_it_marks_what_the_loader_refuses(schema: dict[str, Any], text: str) -> None:
    assert not accepts(schema, plain(text), schema)


def test_options_carry_their_meaning(schema: dict[str, Any]) -> None:
    tower = schema["$defs"]["backbone.tower.named"]["properties"]
    assert tower["stacks"]["description"] == "Stacks, one above the other."
    assert tower["stacks"]["default"] == 1
    assert schema["properties"]["seed"]["description"]
    assert schema["$defs"]["prior.bone_length.options"]["properties"]["weight"]["default"] == 0.1


def test_a_stage_may_be_switched(host: PluginHost) -> None:
    schema = recipe_schema(host)
    for switch in ("off", "on", False, None):
        assert accepts(schema, {"extends": "base.yaml", "stages": {"fit": switch}}, schema)
    assert not accepts(schema, {"extends": "base.yaml", "stages": {"fit": "of"}}, schema)
