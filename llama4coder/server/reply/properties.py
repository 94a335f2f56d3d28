"""The properties of an object's schema one by one, for families that write arguments one by one."""

from collections.abc import Mapping
from dataclasses import dataclass

from llama4coder.constraint.bad_grammar import BadGrammar
from llama4coder.server.tools import Tool

_DEFINITIONS = ("$defs", "definitions")
# Keywords of an object that writing its properties one by one holds to, or that say nothing about its value.
_HELD = frozenset(
    (
        *("type", "properties", "required", "additionalProperties", *_DEFINITIONS),
        *("$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"),
    )
)


@dataclass(frozen=True, slots=True)
class Property:
    """One argument; its schema stands for itself, with the definitions that it may refer to."""

    name: str
    schema: Mapping[str, object]
    is_required: bool


def properties_of(parameters: Mapping[str, object]) -> tuple[Property, ...]:
    """In their order, as far as the schema declares them."""
    declared, required = parameters.get("properties"), parameters.get("required")
    needed = required if isinstance(required, list) else []
    definitions = {key: parameters[key] for key in _DEFINITIONS if key in parameters}
    items = declared.items() if isinstance(declared, dict) else ()
    return tuple(Property(name, _alone(schema, definitions), name in needed) for name, schema in items)


def check_held(tool: Tool) -> None:
    """Raise `BadGrammar` where a strict tool demands more of its arguments than what each of them is."""
    if not tool.strict:
        return
    further = sorted(tool.parameters.keys() - _HELD)
    if further:
        raise BadGrammar("of an object this model can only be held to 'properties', 'required' and their schemas")
    required = tool.parameters.get("required")
    names = {one.name for one in properties_of(tool.parameters)}
    if isinstance(required, list) and not names.issuperset(required):
        raise BadGrammar("a property that is 'required' is not among the 'properties'")


def _alone(schema: object, definitions: Mapping[str, object]) -> Mapping[str, object]:
    """With what a reference of its own stands for, so that its type can be seen; true allows anything."""
    seen: set[str] = set()
    while isinstance(schema, dict) and isinstance(ref := schema.get("$ref"), str) and ref not in seen:
        seen.add(ref)
        found = _defined(ref, definitions)
        if found is None:
            break
        schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
    if schema is False:
        return {"not": {}}
    return {**definitions, **schema} if isinstance(schema, dict) else {}


def _defined(ref: str, definitions: Mapping[str, object]) -> Mapping[str, object] | None:
    """What `#/$defs/name` names."""
    start, _, name = ref.rpartition("/")
    group = definitions.get(start.removeprefix("#/"))
    found = group.get(name) if isinstance(group, dict) else None
    return found if isinstance(found, dict) else None
