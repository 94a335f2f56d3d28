"""The messages that cross every seam of the product: plain frozen data, no behaviour beyond validation.

Nothing here knows about torch, Ray, HTTP or text; a prompt has already become token ids. What holds a client's content,
here and elsewhere, has no `repr` of its own (`repr=False`): reprs find their way into logs and tracebacks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class FinishReason(StrEnum):
    """Why a request ended; every accepted request ends with exactly one."""

    STOP = "stop"  # end-of-sequence token, stop token id, or stop string
    LENGTH = "length"  # max_tokens reached
    ABORT = "abort"  # the client left, or the caller closed the stream
    ERROR = "error"  # the engine failed underneath it
    CONSTRAINT = "constraint"  # its grammar became too complex to hold the output to


class Priority(StrEnum):
    """Who waits for whom."""

    INTERACTIVE = "interactive"  # somebody is looking on
    BATCH = "batch"  # after those, though never for ever


@dataclass(frozen=True, slots=True, repr=False)
class SamplingParams:
    """How the next token is chosen; already validated and with every default resolved.

    Order of application: `logit_bias` and penalties, temperature, top-k, top-p, min-p (design section 5).
    """

    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 keeps the whole vocabulary
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    num_logprobs: int | None = None  # None: no log-probabilities; 0: of the chosen token only; n: and of the n best
    num_prompt_logprobs: int | None = None  # the same for the prompt's own tokens


@dataclass(frozen=True, slots=True)
class StopConditions:
    """When generation ends, as far as token ids can tell; stop strings are the detokeniser's business."""

    max_tokens: int
    min_tokens: int = 0  # stop tokens cannot be sampled before this many tokens
    stop_token_ids: frozenset[int] = frozenset()  # end-of-sequence ids included, unless the request ignores them


@dataclass(frozen=True, slots=True, repr=False)
class Constraint:
    """A language that the output must be a sentence of, as llguidance writes it: a Lark grammar, or several in JSON."""

    grammar: str


@dataclass(frozen=True, slots=True, repr=False)
class GenerateRequest:
    """One sequence to generate. `seed` keys all of its randomness (design section 5).

    A request that was begun elsewhere goes on with `output_token_ids`, exactly where it was: its events begin at that
    offset, and `stop` counts from the end of the prompt as before. `prediction_token_ids` are what the client believes
    the output to be much like; `speculates` and they decide how fast it comes, and nothing else. `priority` decides how
    soon it begins. Only requests with the same `cache_salt` share cached prefixes, so that nobody else can tell from
    the time of an answer what was asked.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    stop: StopConditions
    seed: int  # 0 <= seed < 2**64
    output_token_ids: tuple[int, ...] = ()  # generated already; fewer than stop.max_tokens
    prediction_token_ids: tuple[int, ...] = ()
    speculates: bool = True
    priority: Priority = Priority.INTERACTIVE
    cache_salt: str = ""
    top_blocks: int | None = None  # KV blocks that output tokens read, by KV head; None: all
    constraint: Constraint | None = None  # None: any tokens


@dataclass(frozen=True, slots=True, repr=False)
class TokenLogprob:
    """One candidate of a position, natural logarithm, from the model's raw distribution."""

    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class PositionLogprobs:
    """The chosen token of one position and the best candidates there, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True, repr=False)
class TokenEvent:
    """What one step added to one request.

    `offset` is the number of output tokens before this event, so that a receiver can prove that none was lost.
    The last event of a request, and only that one, has a `finish_reason`; it may carry no token.
    `num_cached_tokens`, `queue_time_s` and `prompt_logprobs` are set on the first event. Of the guesses that the step
    checked, `num_accepted` are among the event's tokens and `num_rejected` were wrong or came after the end.
    """

    request_id: str
    offset: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[PositionLogprobs, ...] = ()  # one per token when asked for, else empty
    finish_reason: FinishReason | None = None
    num_cached_tokens: int = 0
    prompt_logprobs: tuple[PositionLogprobs | None, ...] = ()  # one per prompt token, None for the first
    num_accepted: int = 0
    num_rejected: int = 0
    queue_time_s: float = field(default=0.0, compare=False)  # equal requests wait differently


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an output depends on besides its request: replicas with equal ones give the same tokens."""

    model: str = ""  # of tokens and weights: a prompt that was tokenised for one means nothing to another
    numerics: str = ""  # of how they are computed with: formats, shards, the program


UNMARKED = Fingerprint()  # where there is nothing to tell apart


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What a client may want to know of a model, and nothing here depends on."""

    architecture: str  # `model_type` of its config.json
    num_parameters: int
    weight_format: str  # as its weights are kept: a data type, or a format of `model.quant`
    num_file_bytes: int  # of its weights on disk


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What the endpoint says and knows about its model; everything the server needs besides the tokenizer."""

    name: str
    aliases: tuple[str, ...]
    context_length: int  # prompt + output tokens of one sequence, as served
    vocab_size: int  # width of the logits; token ids of prompts must be below it
    eos_token_ids: frozenset[int]
    created_unix_s: int
    details: ModelDetails
    capabilities: tuple[str, ...] = ("chat", "completion")
    block_bounds: bool = False  # are kept, so that a request may ask for `top_blocks`
    top_blocks: int | None = None  # of requests that do not say
