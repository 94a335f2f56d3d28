"""From what a dialect has understood to the sequences that the backend generates; everything is checked here."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llama4coder.config import ServerConfig
from llama4coder.errors import ContextTooLong, FimUnsupported, InvalidRequest, ModelNotFound, UnsupportedOption
from llama4coder.server.answer_format import AnswerFormat
from llama4coder.server.chat import NO_EXTRAS, ChatExtras, Chats
from llama4coder.server.constraints import Constraints
from llama4coder.server.generation import Job, Prompt, TextOptions
from llama4coder.server.tenant import CurrentTenant
from llama4coder.server.tools import Message, num_chars_of
from llama4coder.tokenizer.chat_template import ChatTemplate
from llama4coder.tokenizer.fim import FimFormat, Hole
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import Constraint, GenerateRequest, Priority, SamplingParams, ServedModel, StopConditions

_SYNC_CHARS = 8 * 1024  # longer texts are tokenised in a thread, so that other streams go on meanwhile
# No vocabulary that we know has a token of more than 128 bytes, and normalisation shrinks a text less than four times.
_MAX_BYTES_PER_TOKEN = 512
_FIM_OUTPUT_SHARE = 8  # of the context is kept for a middle whose length nobody has limited


@dataclass(frozen=True, slots=True, repr=False)
class Options:
    """A request's wishes in any dialect; the ranges of numbers have been checked, not the limits of this server."""

    sampling: SamplingParams
    text: TextOptions
    max_tokens: int | None = None  # None: as much as fits
    clamps_max_tokens: bool = False  # to what fits, instead of a refusal
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None  # None: a random one
    num_choices: int = 1
    prediction: str = ""  # what the output may be much like
    speculates: bool = True
    priority: Priority = Priority.INTERACTIVE
    cache_salt: str = ""  # who may share cached prefixes with it
    top_blocks: int | None = None  # None: what the deployment says
    constraint: Constraint | None = None  # None: outputs may be anything


class Preprocessor:
    """Knows the served model, its tokens and its limits; every refusal names the field that must change."""

    def __init__(
        self,
        model: ServedModel,
        tokenizer: Tokenizer,
        chat_template: ChatTemplate | None,
        config: ServerConfig,
        tenant: CurrentTenant,
    ) -> None:
        self._model = model
        self._tenant = tenant
        self._tokenizer = tokenizer
        self._constraints = Constraints(tokenizer, model.vocab_size)
        self._chats = None if chat_template is None else Chats(chat_template, tokenizer, self._constraints)
        self._fim = FimFormat.of(tokenizer)
        self._config = config

    def check_model(self, name: str) -> None:
        """Raise `ModelNotFound` unless `name` means the served model; Ollama's clients add a `:latest` of their own."""
        known = (self._model.name, *self._model.aliases)
        if name not in known and name.removesuffix(":latest") not in known:
            raise ModelNotFound("this model is not served here; see /v1/models", "model")

    @property
    def _context_length(self) -> int:
        """What this request may use."""
        return self._tenant.context_length(self._model.context_length)

    @property
    def _context_owner(self) -> str:
        return self._tenant.context_owner(self._model.context_length)

    @property
    def knows_chats(self) -> bool:
        """Whether the model has a chat template."""
        return self._chats is not None

    @property
    def fills_holes(self) -> bool:
        """Whether the model has tokens for a hole."""
        return self._fim is not None

    @property
    def chat_capabilities(self) -> tuple[str, ...]:
        """What the model can do in chats, besides answering."""
        return () if self._chats is None else self._chats.capabilities

    @property
    def can_think(self) -> bool:
        """Whether it means anything to tell the model to reason."""
        return self._chats is not None and self._chats.can_think

    async def chat_prompt(self, messages: Sequence[Message], extras: ChatExtras = NO_EXTRAS) -> Prompt:
        """The prompt that the model's own template makes of a chat; see `Chats.prompt` for what else it refuses.

        Raises:
            ContextTooLong: the messages or the tools cannot fit, however they are tokenised.
        """
        chats = self._the_chats()
        num_chars = sum(map(num_chars_of, messages))
        self.check_size(num_chars, "messages")
        self.check_size(sum(len(str(tool.parameters)) for tool in extras.tools), "tools")
        has_tools = bool(extras.tools) or any("tool_calls" in message for message in messages)
        if has_tools or num_chars > _SYNC_CHARS:
            return await asyncio.to_thread(chats.prompt, messages, extras)
        return chats.prompt(messages, extras)

    async def for_chat(self, options: Options, extras: ChatExtras, prompt: Prompt) -> Options:
        """The same options where outputs are read, and held, to what the chat asks for; see `Chats.constraint`."""
        chats = self._the_chats()
        text = replace(options.text, reply=chats.reply_format(extras, prompt))
        constraint = None
        if extras.may_bind:
            constraint = await asyncio.to_thread(chats.constraint, extras, prompt)
        return replace(options, text=text, constraint=constraint)

    async def for_format(self, options: Options, answer_format: AnswerFormat | None, field: str) -> Options:
        """The same options where whole outputs are held to a format; see `Constraints.of_format`."""
        if answer_format is None:
            return options
        constraint = await asyncio.to_thread(self._constraints.of_format, answer_format, field)
        return replace(options, constraint=constraint)

    def _the_chats(self) -> Chats:
        if self._chats is None:
            raise UnsupportedOption("this model has no chat template; use /v1/completions", "messages")
        return self._chats

    async def text_prompt(self, text: str, *, add_bos: bool = True) -> Prompt:
        """A raw prompt, with a BOS if that is the model's habit."""

        def encode() -> Prompt:
            token_ids = self._tokenizer.encode(text, add_bos=add_bos and self._tokenizer.adds_bos)
            return Prompt(tuple(token_ids), text, "prompt")

        return await asyncio.to_thread(encode) if len(text) > _SYNC_CHARS else encode()

    async def fim_prompt(self, hole: Hole, max_tokens: int | None, param: str = "prompt") -> Prompt:
        """A hole, whose surroundings are cut at their far ends so that `max_tokens` can follow.

        Raises:
            FimUnsupported: the model has no tokens for a hole.
        """
        fim = self._the_fim()
        context_length = self._context_length
        wanted = context_length // _FIM_OUTPUT_SHARE if max_tokens is None else max_tokens
        room = max(0, context_length - wanted)
        kept = _near(hole, room * _MAX_BYTES_PER_TOKEN)
        was_cut = kept != hole

        def encode() -> Prompt:
            written = fim.prompt(kept, room)
            return Prompt(written.token_ids, hole.prefix, param, was_cut or written.was_cut)

        return await asyncio.to_thread(encode) if _num_chars(kept) > _SYNC_CHARS else encode()

    def with_fim_ends(self, options: Options) -> Options:
        """The same options where the tokens that end a hole's middle end the output, too, unless no end is wanted."""
        if options.ignore_eos:
            return options
        ends = self._the_fim().end_ids
        text = replace(options.text, silent_ends=ends if options.text.skip_special else frozenset())
        return replace(options, stop_token_ids=(*options.stop_token_ids, *sorted(ends)), text=text)

    def _the_fim(self) -> FimFormat:
        if self._fim is None:
            raise FimUnsupported(
                "this model was not trained to fill in the middle: it has no tokens for a hole", "suffix"
            )
        return self._fim

    async def prediction(self, text: str) -> tuple[int, ...]:
        """A predicted output, as far as an output can go; what looks like a special token in it is text."""
        if not text:
            return ()
        self.check_size(len(text), "prediction")

        def encode() -> tuple[int, ...]:
            token_ids = self._tokenizer.encode(text, add_bos=False, parse_special=False)
            return tuple(token_ids[: self._context_length])

        return await asyncio.to_thread(encode) if len(text) > _SYNC_CHARS else encode()

    def token_prompt(self, token_ids: Sequence[int]) -> Prompt:
        """A prompt given as token ids."""
        self.check_token_ids(token_ids, "prompt")
        return Prompt(tuple(token_ids), None, "prompt")

    def check_token_ids(self, token_ids: Sequence[int], param: str) -> None:
        """Raise `InvalidRequest` unless the model knows every id."""
        if token_ids and not (min(token_ids) >= 0 and max(token_ids) < self._model.vocab_size):
            raise InvalidRequest(f"'{param}' holds a token id that is not in 0..{self._model.vocab_size - 1}", param)

    def check_size(self, num_chars: int, param: str) -> None:
        """Raise `ContextTooLong` for a text that cannot fit however it is tokenised, before the work of doing so."""
        context_length = self._context_length
        num_tokens = num_chars // _MAX_BYTES_PER_TOKEN
        if num_tokens > context_length:
            raise ContextTooLong(
                f"{self._context_owner} maximum context length is {context_length} tokens. However, your {param} has "
                f"{num_chars} characters, which are more than {num_tokens} tokens.",
                param,
                num_tokens,
                context_length,
            )

    def check_num_choices(self, num_prompts: int, num_choices: int) -> None:
        """Raise `InvalidRequest` if so many sequences are over the limit of one request."""
        if num_prompts * num_choices > self._config.max_choices:
            raise InvalidRequest(
                f"the number of prompts times 'n' must not be over {self._config.max_choices}",
                "n" if num_choices > 1 else "prompt",
            )

    def plan(
        self, request_id: str, prompts: Sequence[Prompt], options: Options, prediction_token_ids: tuple[int, ...] = ()
    ) -> Job:
        """The sequences to generate: choice i of a prompt has the seed plus i, so that choices differ reproducibly."""
        self.check_num_choices(len(prompts), options.num_choices)
        self._check_limits(options)
        top_blocks = self._model.top_blocks if options.top_blocks is None else options.top_blocks
        stops = [self._stop_conditions(prompt, options) for prompt in prompts]
        seed = secrets.randbits(63) if options.seed is None else options.seed
        requests = tuple(
            GenerateRequest(
                request_id=f"{request_id}-{number * options.num_choices + choice}",
                prompt_token_ids=prompt.token_ids,
                sampling=options.sampling,
                stop=stops[number],
                seed=(seed + choice) % 2**64,
                prediction_token_ids=prediction_token_ids,
                speculates=options.speculates,
                priority=options.priority,
                cache_salt=options.cache_salt,
                top_blocks=top_blocks,
                constraint=options.constraint,
            )
            for number, prompt in enumerate(prompts)
            for choice in range(options.num_choices)
        )
        return Job(tuple(prompts), requests, options.num_choices, options.text)

    def _stop_conditions(self, prompt: Prompt, options: Options) -> StopConditions:
        if not prompt.token_ids:
            raise InvalidRequest("the prompt has no tokens", prompt.param)
        max_tokens = self._max_tokens(prompt, options)
        if options.min_tokens > max_tokens:
            raise InvalidRequest(f"'min_tokens' is over the {max_tokens} tokens that may be generated", "min_tokens")
        own_stops = frozenset() if options.ignore_eos else self._model.eos_token_ids
        return StopConditions(max_tokens, options.min_tokens, own_stops | frozenset(options.stop_token_ids))

    def _max_tokens(self, prompt: Prompt, options: Options) -> int:
        max_tokens = options.max_tokens
        context_length, num_prompt_tokens = self._context_length, len(prompt.token_ids)
        start = f"{self._context_owner} maximum context length is {context_length} tokens. However, "
        if max_tokens is None or options.clamps_max_tokens:
            if num_prompt_tokens >= context_length:
                message = f"{start}your {prompt.param} resulted in {num_prompt_tokens} tokens."
                raise ContextTooLong(message, prompt.param, num_prompt_tokens, context_length)
            room = context_length - num_prompt_tokens
            return room if max_tokens is None else min(max_tokens, room)
        if num_prompt_tokens + max_tokens > context_length:
            message = (
                f"{start}you requested {num_prompt_tokens + max_tokens} tokens ({num_prompt_tokens} in the "
                f"{prompt.param}, {max_tokens} in the completion)."
            )
            raise ContextTooLong(message, prompt.param, num_prompt_tokens, context_length)
        return max_tokens

    def _check_limits(self, options: Options) -> None:
        if len(options.text.stop) > self._config.max_stop_strings:
            raise InvalidRequest(f"more than {self._config.max_stop_strings} stop strings", "stop")
        asked = options.sampling.num_logprobs
        if asked is not None and asked > self._config.max_logprobs:
            raise InvalidRequest(f"more than {self._config.max_logprobs} log-probabilities per token", "logprobs")
        if options.constraint is not None:
            _check_ends(options)
        if options.top_blocks is not None and not self._model.block_bounds:
            raise UnsupportedOption("this deployment keeps no bounds of KV blocks (engine.block_bounds)", "top_blocks")
        self.check_token_ids(options.stop_token_ids, "stop_token_ids")
        bias_ids = options.sampling.logit_bias
        if bias_ids and not (min(bias_ids) >= 0 and max(bias_ids) < self._model.vocab_size):
            message = f"'logit_bias' holds a token id that is not in 0..{self._model.vocab_size - 1}"
            raise UnsupportedOption(message, "logit_bias")


def _check_ends(options: Options) -> None:
    """An output that is held to a format ends where the format does."""
    if options.ignore_eos:
        raise UnsupportedOption("'ignore_eos' does not go together with a format of the output", "ignore_eos")
    if options.min_tokens:
        raise UnsupportedOption("'min_tokens' does not go together with a format of the output", "min_tokens")


def _near(hole: Hole, num_chars: int) -> Hole:
    """No more of each text than can be kept, which is what lies next to the hole: the tokenizer works on that alone."""
    return replace(
        hole,
        prefix=hole.prefix[max(0, len(hole.prefix) - num_chars) :],
        suffix=hole.suffix[:num_chars],
        middle=hole.middle[max(0, len(hole.middle) - num_chars) :],
        files=tuple(replace(file, text=file.text[:num_chars]) for file in hole.files),
    )


def _num_chars(hole: Hole) -> int:
    own = len(hole.prefix) + len(hole.suffix) + len(hole.middle)
    return own + sum(len(file.path) + len(file.text) for file in hole.files)
