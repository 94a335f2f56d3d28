"""Every error the product raises on purpose.

    Llama4CoderError
    ├── ConfigError                 the operator must change something; one line that says what
    │   ├── CheckpointError         a model folder is damaged, incomplete or of a kind we do not serve
    │   └── NotEnoughMemory         weights and one sequence of the served context do not fit
    ├── RequestError                the client must change something (4xx)
    │   ├── InvalidRequest          a field has a bad value
    │   │   └── UnsupportedOption   a field we know and do not support
    │   │       ├── FimUnsupported  the model has no tokens for a hole
    │   │       ├── ConstraintTooComplex  an output can be held to its format no longer
    │   │       └── ToolsUnsupported  the model's chat template knows no tools, or calls them in a way not known here
    │   ├── ContextTooLong          prompt and max_tokens exceed the served context
    │   ├── ModelNotFound           no such model is served here
    │   ├── NotKept                 nothing is kept that could be looked up
    │   ├── BodyTooLarge            the request body is over the limit
    │   ├── BodyTooSlow             the request body did not arrive in time
    │   ├── Forbidden               what was asked is the operator's to do
    │   ├── Unauthenticated         no API key, or none that counts
    │   └── OutOfScope              an API key that is for something else
    ├── Overloaded                  try again later (429): the bounded queue is full
    ├── RateLimited                 try again later (429): a limit of the client's own key
    └── Unavailable                 try again elsewhere (503)
        ├── EngineDead              the engine or one of its ranks has failed
        ├── NotBegun                the replica had failed before the request came
        ├── QueueTimeout            nobody had room for it in time; come back after `retry_after_s`
        ├── Replaced                another model, or another configuration of it, has taken its place
        ├── StreamLost              tokens were lost on the way; the answer would have had a hole
        └── DeadlineExceeded        the engine did not answer in time

Messages are for the client: they never hold prompt or completion text. `server.errors` maps them to HTTP.
All survive pickling, since they cross processes.
"""


class Llama4CoderError(Exception):
    """Base of the tree; `str(error)` is one clear line."""


class ConfigError(Llama4CoderError):
    """The configuration or the machine cannot work; says what to change."""


class CheckpointError(ConfigError):
    """A model folder is damaged, incomplete, or of a kind that is not served."""


class NotEnoughMemory(ConfigError):
    """The weights and one sequence of the served context length do not fit the budget."""


class RequestError(Llama4CoderError):
    """The client's request cannot be served as it is; `param` names the offending field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message, param)
        self.message = message
        self.param = param

    def __str__(self) -> str:
        return self.message


class InvalidRequest(RequestError):
    """A field has a value that cannot be used."""


class UnsupportedOption(InvalidRequest):
    """A field that is known here and not supported by this deployment."""


class FimUnsupported(UnsupportedOption):
    """The model was not trained to fill a hole: its vocabulary has no tokens for one."""


class ConstraintTooComplex(UnsupportedOption):
    """What the output must look like has become too complex to be held to it."""


class ToolsUnsupported(UnsupportedOption):
    """The model's chat template knows no tools, or the model writes calls in a way that is not known here."""


class ContextTooLong(RequestError):
    """Prompt and requested output exceed the served context length."""

    def __init__(self, message: str, param: str | None, num_prompt_tokens: int, context_length: int) -> None:
        super().__init__(message, param)
        self.args = (message, param, num_prompt_tokens, context_length)
        self.num_prompt_tokens = num_prompt_tokens
        self.context_length = context_length


class ModelNotFound(RequestError):
    """The named model is not served here."""


class NotKept(RequestError):
    """What was asked for would have to have been kept, and nothing ever is."""


class BodyTooLarge(RequestError):
    """The request body is over the configured limit."""


class BodyTooSlow(RequestError):
    """The request body did not arrive in time."""


class Forbidden(RequestError):
    """What was asked is for the operator of this deployment to do, not for its clients."""


class Unauthenticated(RequestError):
    """The request has no API key, or none that counts."""


class OutOfScope(RequestError):
    """The request's API key counts, and is not for this."""


class _ComeBack(Llama4CoderError):
    """There is no room now; come back after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class Overloaded(_ComeBack):
    """The bounded queue is full; come back after `retry_after_s`."""


class RateLimited(_ComeBack):
    """A limit of the client's own key is used up; come back after `retry_after_s`."""


class Unavailable(Llama4CoderError):
    """This replica cannot answer now; another, or this one later, may."""


class EngineDead(Unavailable):
    """The engine or one of its ranks has failed."""


class NotBegun(Unavailable):
    """The replica had failed before the request came, or cannot take more; another one may."""


class QueueTimeout(Unavailable, _ComeBack):
    """The request waited for admission as long as requests may, and has not begun; come back after `retry_after_s`."""


class Replaced(Unavailable):
    """What answered has been replaced by what would answer otherwise; nobody can go on with what it began."""


class StreamLost(Unavailable):
    """Tokens were lost between engine and receiver; the answer would have had a hole."""


class DeadlineExceeded(Unavailable):
    """The engine did not answer in time."""
