"""Values that a model wrote as bare text, in the type that the tool's schema asks for."""

from collections.abc import Mapping

import msgspec

_PYTHON_WORDS: Mapping[str, object] = {"True": True, "False": False, "None": None}


def typed_value(text: str, schema: object) -> object:
    """The text itself where the schema allows a string or says nothing, else the JSON that it is.

    What is neither stays text: the tool can tell the model about it, and nothing is lost.
    """
    types = types_of(schema)
    if not types or "string" in types:
        return None if text == "null" and "null" in types else text
    if text in _PYTHON_WORDS:
        return _PYTHON_WORDS[text]
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def types_of(schema: object) -> frozenset[str]:
    """The JSON types that a property may have, as far as its schema names them."""
    if not isinstance(schema, dict):
        return frozenset()
    declared = schema.get("type")
    named = declared if isinstance(declared, list) else [declared]
    options = schema.get("anyOf") or schema.get("oneOf")
    inner = [types_of(option) for option in options] if isinstance(options, list) else []
    if not all(inner):  # an option without a type allows anything
        return frozenset()
    return frozenset(name for name in named if isinstance(name, str)).union(*inner)
