"""A request's body as a validated model; everything wrong with it is an `InvalidRequest` in plain words."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import msgspec
from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from llama4coder.errors import InvalidRequest, UnsupportedOption

UNSUPPORTED = "unsupported_option"
"""Type of the pydantic errors that stand for a known field which is not supported."""
NOT_SUPPORTED = "the option '{name}' is not supported, or not with this value"
"""What they say, with the field's `name`."""
SYNC_BODY_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread, so that other streams go on meanwhile."""
FAIL_FAST = Field(fail_fast=True)
"""For lists: a million wrong items are one error."""


class RequestModel(BaseModel):
    """Base of every request body: exact types, unknown fields ignored."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {}
    """Known options that are not supported -> values with which they ask for nothing, besides the empty ones."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Called by pydantic for a repr, which shall hold no content."""
        return ()


_EMPTY: tuple[object, ...] = (None, False, "", [], {})
_Model = TypeVar("_Model", bound=RequestModel)


@dataclass(frozen=True, slots=True)
class BodyReader:
    """FastAPI's dependency that reads a request's body as `model`."""

    model: type[RequestModel]

    async def __call__(self, request: Request) -> RequestModel:
        return await read_model(request, self.model)


if TYPE_CHECKING:
    JsonBody = Annotated[_Model, Depends]
else:

    class JsonBody:
        """`body: JsonBody[Model]` in a route: read by `read_model`, and so described in the OpenAPI document."""

        def __class_getitem__(cls, model: type[RequestModel]) -> object:
            return Annotated[model, Depends(BodyReader(model))]


async def read_model(request: Request, model: type[_Model]) -> _Model:
    """The request's body as `model`; `InvalidRequest` or `UnsupportedOption` naming the field if it is not one."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedOption("compressed request bodies are not supported", "content-encoding")
    body = await request.body()
    if len(body) > SYNC_BODY_BYTES:
        return await asyncio.to_thread(parse_model, body, model)
    return parse_model(body, model)


def parse_model(body: bytes, model: type[_Model]) -> _Model:
    """See `read_model`."""
    content = _parse_json(body)
    if not isinstance(content, dict):
        raise InvalidRequest(f"the request body must be a JSON object, not {_json_kind(content)}")
    _refuse_unsupported(content, model)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)[0]
    raise _invalid_field(details)  # outside the handler: the cause would hold the client's input


def _refuse_unsupported(content: Mapping[str, object], model: type[RequestModel]) -> None:
    for name, harmless in model.unsupported.items():
        if asks_for(content.get(name), harmless):
            raise UnsupportedOption(NOT_SUPPORTED.format(name=name), name)


def asks_for(value: object, harmless: Sequence[object]) -> bool:
    """Whether an option's value asks for anything: empty and harmless ones do not."""
    return value not in (*_EMPTY, *harmless)


def _parse_json(body: bytes) -> object:
    if not body:
        raise InvalidRequest("the request body is empty; it must be a JSON object")
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError:
        problem = "it is not valid UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except msgspec.DecodeError as error:
        problem = str(error)
    raise InvalidRequest(f"the request body cannot be read as JSON: {problem}")


def _invalid_field(details: ErrorDetails) -> InvalidRequest:
    param = field_path(details["loc"])
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing":
        return InvalidRequest(f"the field '{param}' is missing", param)
    if details["type"] == UNSUPPORTED:
        return UnsupportedOption(message, param)
    return InvalidRequest(f"the field '{param}' has a value that cannot be used: {_lower_first(message)}", param)


def kind_tag(value: object) -> str | None:
    """An object's `type` as a tag that paths leave out; what pydantic itself does with types repeats them in errors."""
    kind = value.get("type") if isinstance(value, dict) else None
    return f"<{kind}>" if isinstance(kind, str) else None


def field_path(location: tuple[int | str, ...]) -> str:
    """A place in the body as `messages[0].content`."""
    path = ""
    for part in location:
        if isinstance(part, str) and part.startswith("<"):
            continue  # a tag: which of several models the value was taken for
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def _json_kind(value: object) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
