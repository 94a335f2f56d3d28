"""Schemas whose instances have bounded sizes, so that outputs that match them come to an end."""

from collections.abc import Sequence
from random import Random

_WORDS = ("name", "path", "count", "is_open", "lines", "kind", "user id", "größe", "$ref", "result", "x", "tags")
_FORMATS = ("date", "time", "uuid", "ipv4", "date-time")
_PATTERNS = ("^[a-z]{2,6}$", "^[A-Z]+-[0-9]{3}$", "^(yes|no)$", "^\\d{1,4}\\.\\d{2}$")


def random_schema(random: Random, depth: int = 3) -> dict[str, object]:
    """Of an object, as clients ask for; every keyword that can be held to comes in some of them."""
    definitions = {"word": _string(random), "pair": _object(random, 1, refers=False)} if random.random() < 0.4 else {}
    schema = _object(random, depth, refers=bool(definitions))
    return {**schema, "$defs": definitions} if definitions else schema


def _object(random: Random, depth: int, *, refers: bool) -> dict[str, object]:
    names = random.sample(_WORDS, random.randint(1, 4))
    schema: dict[str, object] = {
        "type": "object",
        "properties": {name: _value(random, depth - 1, refers=refers) for name in names},
        "required": [name for name in names if random.random() < 0.7],
        "additionalProperties": False,
    }
    if random.random() < 0.2:
        schema["description"] = "something"
    return schema


def _value(random: Random, depth: int, *, refers: bool) -> dict[str, object]:
    simple = (_string, _integer, _number, _constant, _choice)
    if refers and random.random() < 0.25:
        return {"$ref": random.choice(("#/$defs/word", "#/$defs/pair"))}
    if depth <= 0 or random.random() < 0.5:
        return random.choice(simple)(random)
    if random.random() < 0.5:
        return _object(random, depth, refers=refers)
    if random.random() < 0.6:
        return _array(random, depth, refers=refers)
    return {"anyOf": [{"type": "null"}, _value(random, depth - 1, refers=refers)]}


def _array(random: Random, depth: int, *, refers: bool) -> dict[str, object]:
    least = random.randint(0, 2)
    schema: dict[str, object] = {"type": "array", "minItems": least, "maxItems": least + random.randint(0, 2)}
    item = _value(random, depth - 1, refers=refers)
    if random.random() < 0.3:
        first = _value(random, depth - 1, refers=refers)
        return {**schema, "prefixItems": [first], "items": item}
    return {**schema, "items": item}


def _string(random: Random) -> dict[str, object]:
    options: Sequence[dict[str, object]] = (
        {"maxLength": random.randint(1, 20)},
        {"minLength": 2, "maxLength": 12},
        {"pattern": random.choice(_PATTERNS), "maxLength": 12},
        {"format": random.choice(_FORMATS)},
    )
    return {"type": "string", **random.choice(options)}


def _integer(random: Random) -> dict[str, object]:
    options: Sequence[dict[str, object]] = (
        {"minimum": 0, "maximum": random.choice((1, 9, 255, 100_000))},
        {"exclusiveMinimum": -5, "exclusiveMaximum": 50},
        {"minimum": -100, "maximum": 100, "multipleOf": random.choice((2, 5, 10))},
    )
    return {"type": "integer", **random.choice(options)}


def _number(random: Random) -> dict[str, object]:
    return {"type": "number", "minimum": random.choice((-1.5, 0, 0.25)), "maximum": random.choice((1, 99.5, 1000))}


def _constant(random: Random) -> dict[str, object]:
    return {"const": random.choice(("v1", 7, True, None, ["a", 1]))}


def _choice(random: Random) -> dict[str, object]:
    options: Sequence[dict[str, object]] = (
        {"enum": random.sample(("red", "green", "blue", 'q"uote', "ü"), 3)},
        {"type": "boolean"},
        {"type": ["boolean", "null"]},
        {"enum": [1, "one", None]},
    )
    return random.choice(options)
