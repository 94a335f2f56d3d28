"""Writes one response, whole or at any time of its life, always under the same id."""

import time
import uuid

import msgspec

from llama4coder.server.body import RequestModel
from llama4coder.server.endpoint import Endpoint
from llama4coder.server.errors import Refusal
from llama4coder.server.generation import Chunk, Job, Usage
from llama4coder.server.openai.logprobs import chat_logprobs
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.server.responses.offers import Offers
from llama4coder.server.responses.output import Output, OutputStyle
from llama4coder.server.responses.replies import (
    Echo,
    IncompleteDetails,
    OutputItem,
    ReplyError,
    ReplyStatus,
    ResponseReply,
    usage_reply,
)
from llama4coder.server.responses.schemas import InputRequest, ResponseRequest
from llama4coder.server.responses.texts import Logprobs
from llama4coder.server.responses.tool_fields import LeftOutField
from llama4coder.types import FinishReason, Priority

_TOO_MANY_REQUESTS = 429


class ResponseWriter:
    """Knows the request, and all of its answer that has been written."""

    def __init__(self, endpoint: Endpoint, body: ResponseRequest, offers: Offers, job: Job) -> None:
        self.output = Output((job.text.reply or ReplyFormat()).parser(), self._style(body, offers))
        # Some clients take ids that begin with `resp_` for a promise to keep the response.
        self._id = f"response_{uuid.uuid4().hex}"
        self._created_at = int(time.time())
        self._echo = _echo(endpoint.model.name, body, job)
        self._tokenizer = endpoint.tokenizer
        self._wants_logprobs = body.num_logprobs is not None

    def _style(self, body: InputRequest, offers: Offers) -> OutputStyle:
        by_name = {offer.tool.name: offer for offer in offers.offers}
        return OutputStyle(by_name, body.asks_for_summary, self._logprobs)

    def _logprobs(self, chunk: Chunk) -> Logprobs:
        return chat_logprobs(self._tokenizer, chunk.logprobs).content if self._wants_logprobs else []

    def begun(self) -> ResponseReply:
        """The response before anything is known of its answer."""
        return self._reply("in_progress", [])

    def ended(self, reason: FinishReason, usage: Usage) -> ResponseReply:
        """The whole response."""
        is_whole = reason is FinishReason.STOP
        reply = self._reply("completed" if is_whole else "incomplete", self.output.items)
        return msgspec.structs.replace(
            reply,
            completed_at=int(time.time()) if is_whole else None,
            incomplete_details=None if is_whole else IncompleteDetails(),
            usage=usage_reply(usage, self.output.num_reasoning_tokens),
        )

    def failed(self, refusal: Refusal) -> ResponseReply:
        """The response as far as it came."""
        is_overload = refusal.status == _TOO_MANY_REQUESTS
        error = ReplyError("rate_limit_exceeded" if is_overload else "server_error", refusal.message)
        return msgspec.structs.replace(self._reply("failed", self.output.items), error=error)

    def _reply(self, status: ReplyStatus, items: list[OutputItem]) -> ResponseReply:
        echo = msgspec.structs.asdict(self._echo)
        return ResponseReply(**echo, id=self._id, created_at=self._created_at, status=status, output=items)


def _echo(model: str, body: ResponseRequest, job: Job) -> Echo:
    request = job.requests[0]
    return Echo(
        model=model,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        parallel_tool_calls=body.parallel_tool_calls is not False,
        prompt_cache_key=body.prompt_cache_key,
        reasoning={"effort": None, "summary": None} | _given(body.reasoning),
        safety_identifier=body.safety_identifier,
        service_tier="flex" if request.priority is Priority.BATCH else "default",
        temperature=request.sampling.temperature,
        text={"format": {"type": "text"}} | _given(body.text),
        tool_choice=body.tool_choice if isinstance(body.tool_choice, str) else _given(body.tool_choice) or "auto",
        tools=[_given(tool) for tool in body.tools or () if not isinstance(tool, LeftOutField)],
        top_logprobs=body.top_logprobs or 0,
        top_p=request.sampling.top_p,
        user=body.user,
    )


def _given(fields: RequestModel | None) -> dict[str, object]:
    """Fields as the client wrote them."""
    if fields is None:
        return {}
    # A warning would hold what the client has sent.
    return fields.model_dump(by_alias=True, exclude_unset=True, exclude_none=True, warnings=False)
