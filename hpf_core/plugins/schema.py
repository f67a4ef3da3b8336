"""The JSON schema of recipes with each plugin's options, for completion and error marks in editors.

The schema accepts every recipe that `load` accepts, also partial recipes that only change a base recipe. So it requires
little; the loader makes the full check.
"""

from __future__ import annotations

from typing import Any

from hpf_core.documents.tree import canonical
from hpf_core.interfaces import Kind
from hpf_core.plugins.host import PluginHost
from hpf_core.plugins.records import Registered
from hpf_core.recipe.models import Recipe
from hpf_core.recipe.plugins import TERM_KINDS

_Schema = dict[str, Any]
_SWITCH: _Schema = {"enum": ["on", "off", True, False, None], "description": "On with its own options, or off."}
_TEXT: _Schema = {"type": "string"}


def recipe_schema(host: PluginHost) -> _Schema:
    """The schema of a recipe for the installed plugins (JSON Schema 2020-12).

    Args:
        host: the host with the plugins.
    """
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "HPF recipe"
    schema.pop("required", None)  # the base recipe may have them
    definitions: _Schema = schema["$defs"]
    definitions["Stage"].pop("required", None)
    for name in ("Use", "TermUse"):
        del definitions[name]

    def use(kind: Kind) -> _Schema:
        if kind not in definitions:
            definitions[kind] = _use(list(host.registered(kind)), definitions, host.defaults.get(kind))
        return {"$ref": f"#/$defs/{kind}"}

    properties = schema["properties"]
    for kind in ("hand", "renderer", "backbone"):
        properties[kind] = {**_without_shape(properties[kind]), **use(kind)}
    data = definitions["Data"]["properties"]
    for field in ("real", "synthetic"):
        data[field] = {**_without_shape(data[field]), "anyOf": [use("dataset"), {"type": "null"}]}
    properties["transforms"]["items"] = use("transform")
    properties["observers"]["items"] = use("observer")
    definitions["Evaluate"]["properties"]["refiners"]["items"] = use("refiner")
    for pattern, stage in properties["stages"]["patternProperties"].items():
        properties["stages"]["patternProperties"][pattern] = {"anyOf": [stage, _SWITCH]}
    terms = list(host.registered(TERM_KINDS))
    properties["terms"] = {**_without_shape(properties["terms"]), **_terms(terms, definitions)}
    names = sorted({spelling for term in terms for name in _names(term) for spelling in _spellings(name)})
    definitions["Stage"]["properties"]["terms"]["items"] = {"anyOf": [{"enum": names}, _TEXT]}
    return schema


def _use(offers: list[Registered], definitions: _Schema, default: str | None) -> _Schema:
    """A plugin's name, its options with `use`, or options that change those of the base recipe."""
    spellings = sorted({spelling for offer in offers for name in _names(offer) for spelling in _spellings(name)})
    choices: list[_Schema] = [{"enum": spellings}, *(_options(offer, definitions, True) for offer in offers)]
    defaults = [offer for offer in offers if default is not None and canonical(offer.spec.name) == canonical(default)]
    choices += [_options(offer, definitions, False) for offer in defaults]
    choices.append({"type": "object", "not": {"required": ["use"]}})
    return {"anyOf": choices}


def _terms(offers: list[Registered], definitions: _Schema) -> _Schema:
    """The mapping of terms: a key is a plugin's name, or any name with `use`."""
    names = sorted({spelling for offer in offers for name in _names(offer) for spelling in _spellings(name)})
    weight = Recipe.model_json_schema()["$defs"]["TermUse"]["properties"]["weight"]
    with_use = [_options(offer, definitions, True, weight) for offer in offers]
    definitions["term"] = {"anyOf": [_SWITCH, {"enum": names}, *with_use]}
    free = {"type": "object", "not": {"required": ["use"]}}
    properties: _Schema = {}
    for offer in offers:
        own = {"anyOf": [_options(offer, definitions, False, weight), {"$ref": "#/$defs/term"}]}
        for name in _names(offer):
            for spelling in _spellings(name):
                properties[spelling] = {"description": offer.spec.summary, **own}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/term"}, free]},
    }


def _options(offer: Registered, definitions: _Schema, with_use: bool, weight: _Schema | None = None) -> _Schema:
    """A reference to a plugin's options, with `use` (and a term's weight) beside them."""
    spec = offer.spec
    label = f"{spec.kind}.{canonical(spec.name)}"
    key = f"{label}.{'named' if with_use else 'options'}"
    if key not in definitions:
        own = spec.config.model_json_schema(ref_template=f"#/$defs/{label}.{{model}}")
        for name, inner in own.pop("$defs", {}).items():
            definitions[f"{label}.{name}"] = inner
        spellings = [spelling for name in _names(offer) for spelling in _spellings(name)]
        properties: _Schema = {"use": {"enum": spellings, "description": spec.summary}}
        if weight is not None:
            properties["weight"] = {**weight, "default": spec.default_weight}
        own["properties"] = {**properties, **own.get("properties", {})}
        own["title"] = spec.name
        own["description"] = spec.summary
        own["required"] = ["use"] if with_use else []
        definitions[key] = own
    return {"$ref": f"#/$defs/{key}"}


def _names(offer: Registered) -> tuple[str, ...]:
    return (offer.spec.name, *offer.spec.aliases)


def _spellings(name: str) -> list[str]:
    """A name with `_` and with `-`."""
    return sorted({canonical(name), name.replace("_", "-")}, reverse=True)


def _without_shape(schema: _Schema) -> _Schema:
    """The description and title of a property, without its type."""
    return {key: schema[key] for key in ("description", "title") if key in schema}
