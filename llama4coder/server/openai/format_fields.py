"""Fields that say what an answer must look like: OpenAI's `response_format`, and those that vLLM made common."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec
from pydantic import Field, PlainValidator

from llama4coder.errors import InvalidRequest
from llama4coder.server.answer_format import AnswerFormat, ContextFree, JsonObject, JsonSchema, Regex
from llama4coder.server.body import FAIL_FAST, RequestModel
from llama4coder.server.fields import NonEmpty, refused_unless

_MAX_CHOICES = 1024
_MAX_CHARS = 64 * 1024


def _schema(value: object) -> dict[str, object]:
    """A schema, or its JSON text."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON schema, which is an object")
    return value


SchemaField: TypeAlias = Annotated[dict[str, object], PlainValidator(_schema)]
ChoiceField: TypeAlias = Annotated[list[NonEmpty], FAIL_FAST, Field(min_length=1, max_length=_MAX_CHOICES)]
GrammarText: TypeAlias = Annotated[str, Field(min_length=1, max_length=_MAX_CHARS)]


class NamedSchema(RequestModel):
    """`response_format.json_schema`; answers always match, whether `strict` or not."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[SchemaField, Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(RequestModel):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class StructuredOutputs(RequestModel):
    """vLLM's `structured_outputs`."""

    json_: Annotated[SchemaField | None, Field(alias="json")] = None
    regex: GrammarText | None = None
    choice: ChoiceField | None = None
    grammar: GrammarText | None = None
    json_object: bool | None = None
    structural_tag: Annotated[None, refused_unless()] = None
    whitespace_pattern: Annotated[None, refused_unless()] = None
    disable_any_whitespace: Annotated[None, refused_unless()] = None
    disable_additional_properties: Annotated[None, refused_unless()] = None


class FormatFields(RequestModel):
    """At most one of them may ask for something."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: SchemaField | None = None
    guided_regex: GrammarText | None = None
    guided_choice: ChoiceField | None = None
    guided_grammar: GrammarText | None = None


@dataclass(frozen=True, slots=True)
class AskedFormat:
    """A format, and the field that asked for it."""

    answer_format: AnswerFormat | None
    field: str


def asked_format(fields: FormatFields) -> AskedFormat:
    """The one format that is asked for; `InvalidRequest` where there are several."""
    asked = [*_of_response_format(fields.response_format), *_of_vllm(fields)]
    if len(asked) > 1:
        message = f"'{asked[0].field}' and '{asked[1].field}' both say what the answer must look like; use one of them"
        raise InvalidRequest(message, asked[1].field)
    return asked[0] if asked else AskedFormat(None, "response_format")


def _of_response_format(field: ResponseFormat | None) -> Sequence[AskedFormat]:
    if field is None or field.type == "text":
        return ()
    if field.type == "json_object":
        return (AskedFormat(JsonObject(), "response_format"),)
    if field.json_schema is None:
        raise InvalidRequest("the field 'response_format.json_schema' is missing", "response_format.json_schema")
    return (AskedFormat(JsonSchema(field.json_schema.schema_), "response_format"),)


def _of_vllm(fields: FormatFields) -> Sequence[AskedFormat]:
    guided = _formats(fields.guided_json, fields.guided_regex, fields.guided_choice, fields.guided_grammar, "guided_")
    one = fields.structured_outputs
    if one is None:
        return guided
    structured = [*_formats(one.json_, one.regex, one.choice, one.grammar, "structured_outputs.")]
    if one.json_object:
        structured.append(AskedFormat(JsonObject(), "structured_outputs.json_object"))
    return (*guided, *structured)


def _formats(
    schema: Mapping[str, object] | None,
    regex: str | None,
    choice: Sequence[str] | None,
    grammar: str | None,
    prefix: str,
) -> Sequence[AskedFormat]:
    found: Mapping[str, AnswerFormat | None] = {
        "json": None if schema is None else JsonSchema(schema),
        "regex": None if regex is None else Regex(regex),
        "choice": None if choice is None else ContextFree(_one_of(choice)),
        "grammar": None if grammar is None else ContextFree(grammar),
    }
    return [AskedFormat(one, f"{prefix}{name}") for name, one in found.items() if one is not None]


def _one_of(texts: Sequence[str]) -> str:
    return "start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)
