"""What an operator may set: frozen, documented in place, unknown keys refused.

The same structure is the `args` of the Ray Serve config file (`deploy/serve/*.yaml`). `"auto"` values are derived
once, by `llama4coder.resolve.resolve`, and printed at start.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

Auto = Literal["auto"]
DType = Literal["float32", "bfloat16", "float16"]
QuantFormat = Literal["none", "int8", "int4", "fp8", "nf4"]
KVFormat = Literal["dense", "fp8", "int8", "int4"]
Device = Literal["cpu", "cuda"]
PlacementStrategy = Literal["STRICT_PACK", "PACK"]
RoutingPolicy = Literal["kv_aware", "least_load", "round_robin"]
SpeculationMethod = Literal["none", "ngram", "local", "pool"]
AbsolutePath = Annotated[str, Field(pattern=r"^/.+")]
CollectorUrl = Annotated[str, Field(pattern=r"^https?://[^/@\s?#]+(/[^@\s?#]*)?$")]  # it is printed: no password
Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$")]
TopBlocks = Annotated[int, Field(ge=4, le=1_000_000)]  # from the first, the last two and one to choose, to all


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Frozen):
    """Which weights are served, and under which name."""

    path: str = "embedded"
    """A checkpoint folder (safetensors, config.json, tokenizer.json), a `.gguf` file (converted once into the cache),
    or `embedded` for the model that comes along."""
    name: str | None = None
    """Name clients use; the folder's name by default."""
    aliases: tuple[str, ...] = ()
    """Further names that mean this model."""
    dtype: DType | Auto = "auto"
    """Weights and KV; auto is bfloat16 where the device computes in it or weights are quantised, else float32."""
    quant: QuantFormat | Auto = "auto"
    """How weights are kept; auto is a quantised checkpoint's own kind, none for any other. fp8 has a scale per output,
    and rounds activations as well; nf4 keeps the layers in 4 bits with a scale per 64 inputs; CPUs emulate both, with
    the same numbers and without the speed. On a CPU only: int8 has a scale per output; int4 keeps the layers in 4 bits
    with a step and a low per 32 inputs (5 bits in all), and embedding and head as int8. Less exact, and faster where
    reading weights is what takes the time; KV stays in `dtype`."""
    quant_exclude: tuple[str, ...] = ()
    """Modules whose weights stay in `dtype`, by patterns such as `lm_head`, `model.layers.0.*` or `*.down_proj`. Query,
    key and value are one matrix, and so are gate and up: all of them, or none. `quant: auto` excludes what a quantised
    checkpoint leaves out as well."""
    verify: bool = False
    """Compare the folder's files with its `SHA256SUMS`, or `manifest.json`, before the weights are read; by the first
    rank, on its node. It takes as long as reading them, and a folder without such a list does not start."""
    context_length: PositiveInt | Auto = "auto"
    """Prompt plus output tokens of one sequence; auto is the model's own. Beyond that answers get worse."""
    rope_scaling: Mapping[str, Any] | None = None
    """How positions are scaled, instead of what config.json says, as it would say it: `{rope_type: yarn, factor: 4.0,
    original_max_position_embeddings: 32768}` gives Qwen2.5-Coder 131072 tokens of context."""


class EngineConfig(Frozen):
    """How one target replica runs."""

    device: Device | Auto = "auto"
    """Where the model runs; auto is a GPU if a node that may hold ranks has one."""
    ranks: PositiveInt = 1
    """GPUs, or processes on CPUs, that one replica is split over."""
    kv_shards: PositiveInt | Auto = "auto"
    """Ranks that hold the same heads and divide a sequence's blocks; auto splits heads as far as the model's KV heads
    go, and blocks beyond that."""
    memory_budget: Annotated[float, Field(gt=0, le=1)] | Annotated[int, Field(gt=1)] | Auto = "auto"
    """Memory that each rank may take for everything: a fraction of its GPU's, or of what is available on the machine of
    CPU ranks, divided among them; or bytes. What is left of it beside weights and the largest step is for KV blocks.
    auto is 0.9 on a GPU; on a CPU it is all of it, of which KV blocks take only what suits a machine with other work to
    do, 2 GiB or one full sequence."""
    kv_memory_bytes: PositiveInt | Auto = "auto"
    """Memory of each rank's KV blocks, exactly; auto follows from `memory_budget`."""
    host_memory_bytes: NonNegativeInt | Auto = "auto"
    """Host memory of each rank for blocks of cached prefixes and preempted sequences that leave its KV memory; they
    come back instead of being computed again. It needs `prefix_caching`; 0 is none. Auto is none on a CPU; beside a GPU
    half of what is free on the node, divided by the ranks of all replicas as if it held them all, at most 32 GiB."""
    max_sequences: PositiveInt = 64
    """Sequences that one step may hold."""
    max_step_tokens: Annotated[int, Field(ge=16)] = 512
    """Tokens that one step may compute; longer prompts are prefilled in chunks of what is left."""
    max_queued_requests: PositiveInt = 256
    """Requests that may wait; past it 429."""
    queue_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """A request that has waited so long without having begun gets 503; offline generation has no such limit."""
    batch_delay_s: Annotated[float, Field(ge=0)] = 30.0
    """A request of priority `batch` waits as if it had come so much later; interactive ones that come within that time
    go first."""
    kv_format: KVFormat = "dense"
    """How keys and values are kept: dense in `model.dtype`; fp8 with a scale per block and head; int8 with a scale per
    token and head; int4 with a scale and a low per block and channel for keys, per token for values. What a token reads
    of its own block is dense in fp8 and int4."""
    top_blocks: TopBlocks | None = None
    """How many blocks of 16 tokens an output token reads, by KV head: the first, the last two, and those whose keys'
    bounds allow the highest scores. Faster in long contexts, and no longer exact; prompts read everything. By default
    output does, too. A request's `top_blocks` takes its place."""
    block_bounds: bool = False
    """Keep the bounds of each block's keys, a sixteenth of a dense block, so that requests may ask for `top_blocks`;
    they are kept in any case if `engine.top_blocks` is set."""
    prefix_caching: bool = True
    """Reuse the KV blocks of equal prompt beginnings. Without it a preempted sequence is computed again."""
    num_threads: PositiveInt | Auto = "auto"
    """CPU threads of one rank; auto divides the cores among the ranks of a machine."""
    step_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """A rank that does not answer a step for this long is dead."""
    heartbeat_timeout_s: Annotated[float, Field(ge=0.1)] = 5.0
    """A rank whose process is frozen, or cut off, for this long is dead; one that computes is not."""
    drain_timeout_s: Annotated[float, Field(ge=0)] = 60.0
    """How long a target replica that is to stop still works on what it has begun; what has not ended by then goes on at
    another replica."""


class PlacementConfig(Frozen):
    """On which nodes of the cluster a target replica runs."""

    strategy: PlacementStrategy = "STRICT_PACK"
    """STRICT_PACK keeps a replica's ranks on one node; PACK puts them on as few nodes as have room."""
    ranks_per_node: tuple[PositiveInt, ...] | None = None
    """Ranks on each of several nodes, such as `[8, 8]`; takes the place of `strategy`."""
    node_labels: Mapping[str, str] = {}
    """Ray labels that nodes must have to hold ranks, such as `{pool: target}`."""
    front_labels: Mapping[str, str] = {}
    """Ray labels that nodes must have to hold the ingress replicas and the metrics hub, such as `{pool: front}`."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long the nodes may take to join that a replica needs; after that the start fails and says what is missing."""


class DraftConfig(Frozen):
    """The draft model of `speculation.method` `local` and `pool`; it must have the target's tokens."""

    path: str = "embedded"
    """Like `model.path`."""
    dtype: DType | Auto = "auto"
    """Like `model.dtype`."""
    quant: QuantFormat | Auto = "auto"
    """Like `model.quant`; a target's own weights in 4 bits make a draft model, too."""
    window_tokens: Annotated[int, Field(ge=64)] = 2048
    """Most tokens of a sequence that the draft model sees, the last ones."""
    kv_memory_bytes: PositiveInt | Auto = "auto"
    """Memory of the draft model's KV blocks; auto is 512 MiB on a CPU and 4 GiB on a GPU, or what four windows need."""
    num_threads: PositiveInt | Auto = "auto"
    """CPU threads of the draft model; auto takes as many as a rank of the target, as `local` always does."""
    max_forks: Annotated[int, Field(ge=0, le=64)] = 8
    """Other outcomes of one verification that a pool drafts for, beside the likeliest."""


class PoolConfig(Frozen):
    """The replicas of `speculation.method` `pool`: each has a draft model, and drafts for all target replicas."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Replicas that are there however little there is to draft; with 0 the first one is started when it is wanted."""
    max_replicas: PositiveInt = 1
    """Replicas that are there at most; if more than the least, their number follows how busy they are."""
    cpus_per_replica: Annotated[float, Field(gt=0)] = 0.5
    """CPUs that a replica asks Ray for; how many threads it has is `speculation.draft.num_threads`."""
    gpus_per_replica: Annotated[float, Field(ge=0)] | Auto = "auto"
    """GPUs that a replica asks Ray for; auto is one if the target is on GPUs. A fraction shares one among replicas."""
    node_labels: Mapping[str, str] = {}
    """Ray labels that nodes must have to hold draft replicas, such as `{pool: draft}`."""
    silence_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """A replica that owes a target an answer for so long loses the target's sequences to others, for a while."""
    session_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """A replica forgets a sequence of which it has heard nothing for so long."""


class SpeculationConfig(Frozen):
    """Who guesses the next tokens, so that one step of the target can check several; it never changes an answer."""

    method: SpeculationMethod = "ngram"
    """`ngram` repeats what prompt, prediction and output say elsewhere; `local` runs a draft model beside the target;
    `pool` has draft models in processes of their own guess ahead. `local` and `pool` use n-grams where they know
    nothing."""
    max_draft_tokens: Annotated[int, Field(ge=1, le=32)] = 8
    """Most tokens that are guessed for one sequence at once."""
    draft: DraftConfig = DraftConfig()
    pool: PoolConfig = PoolConfig()

    @property
    def most_draft_tokens(self) -> int:
        """Guesses that a step may check of one sequence."""
        return 0 if self.method == "none" else self.max_draft_tokens


class RouterConfig(Frozen):
    """Which of several target replicas a request goes to."""

    policy: RoutingPolicy = "kv_aware"
    """`kv_aware` weighs what of the prompt is cached at a replica against what it has to do; `least_load` looks at what
    they have to do, `round_robin` at nothing. All of them avoid replicas without room, or that will soon be gone."""


class ScalingConfig(Frozen):
    """How many target replicas there are, between `target_replicas` and `scaling.max_replicas`, by what they do.

    The delays hold for the draft pool as well; its bounds are `speculation.pool.min_replicas` and `max_replicas`.
    """

    max_replicas: PositiveInt | Auto = "auto"
    """Target replicas that there are at most; auto is `target_replicas`: their number is fixed."""
    kv_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Share of a replica's KV blocks that may be promised, on average, before there is one replica more."""
    prefill_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a replica's time that computing prompts may take; with half of it, tokens come half as fast as alone."""
    backlog_s: Annotated[float, Field(gt=0)] = 2.0
    """Seconds of prompts that may wait to be computed at a replica."""
    ttft_s: Annotated[float, Field(gt=0)] = 2.0
    """When the slowest tenth of first tokens comes later than that, and later and later, there is one replica more."""
    streams_per_replica: PositiveInt | Auto = "auto"
    """Requests that may run or wait at a replica; auto is three quarters of `engine.max_sequences`."""
    up_delay_s: Annotated[float, Field(ge=0)] = 10.0
    """For how long more replicas must be wanted before one is started."""
    down_delay_s: Annotated[float, Field(ge=0)] = 300.0
    """For how long fewer must be wanted before one is stopped, which then finishes what it has."""
    start_time_s: Annotated[float, Field(ge=0)] = 300.0
    """What a replica takes to start, nodes included: a forecast is looked up so far ahead."""
    forecast_file: AbsolutePath | None = None
    """A CSV file on the head node that says when there are to be at least how many target replicas."""
    forecast_zone: str = "UTC"
    """Its times' zone, such as `Europe/Berlin`."""


class ServerConfig(Frozen):
    """Limits and habits of the HTTP endpoint."""

    max_body_bytes: PositiveInt = 16 * 2**20
    """Larger request bodies are answered with 413."""
    keep_alive_s: Annotated[float, Field(gt=0)] = 10.0
    """Silence after which a stream gets an SSE comment, so that proxies keep it open."""
    ready_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Deadline of the readiness probe's token."""
    recovery_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    """How long a request may wait for a replica to take it; and how long in all, whenever it has lost its replica,
    until it goes on, at another one or at one started anew."""
    drain_timeout_s: Annotated[float, Field(ge=0)] = 300.0
    """How long an ingress that is to stop still carries the answers that it has begun; they end with an error then."""
    client_timeout_s: Annotated[float, Field(ge=1)] = 60.0
    """A client whose request takes so long to arrive is answered with 408; one that takes nothing of its answer for so
    long is cut off, and what was generated for it ends."""
    cors_origins: tuple[Origin, ...] = ()
    """Origins whose pages may call from a browser, such as `https://chat.example.org`; none by default."""
    keys_file: AbsolutePath | None = None
    """File of API keys, as `llama4coder keys add` makes it, by an absolute path on every node that holds an ingress. It
    is read again when it changes. Without one nobody needs a key, and the endpoint listens on loopback only."""
    tenant_metrics: bool = False
    """Count tokens by key in the metrics, which then hold the keys' names."""
    share_prefixes: bool = False
    """Whether one key's requests may find what another's have cached; the time of an answer can tell that it was."""
    limits_divided_by: PositiveInt | Auto = "auto"
    """Processes among which the limits of a key are divided, each rounded up; auto is `ingress_replicas`."""
    max_choices: PositiveInt = 16
    """Largest `n` times number of prompts of one request."""
    max_stop_strings: PositiveInt = 64
    """Most stop strings of one request."""
    max_logprobs: PositiveInt = 20
    """Most log-probabilities per token that a request may ask for."""


class TelemetryConfig(Frozen):
    """Spans and histograms of requests for an OpenTelemetry collector of one's own: numbers and ids, never content."""

    otlp_endpoint: CollectorUrl | None = None
    """Base URL of the collector's OTLP/HTTP receiver, such as `http://127.0.0.1:4318`. None by default: nothing is
    loaded and nothing is sent. It needs the extra `otlp`."""
    headers_file: AbsolutePath | None = None
    """Headers for the collector, such as a token: a file with one `name: value` a line, on every node that holds an
    ingress; read at start."""
    ca_file: AbsolutePath | None = None
    """Certificates of the authorities that the collector's own is trusted by (PEM); the usual ones by default."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of requests that have a span, by their trace; a client's `traceparent` can take its request out, not in.
    Histograms count all."""
    interval_s: Annotated[float, Field(ge=1)] = 15.0
    """Between two reports of the histograms."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """How long the collector may take; and how long an ingress that ends waits for the last report."""


class PlanConfig(Frozen):
    """What `llama4coder plan --emit` promised of this deployment; served as metrics beside what is, and not obeyed."""

    requests_per_s: Annotated[float, Field(gt=0)]
    """Requests/s of all clients that the plan was made for."""
    max_requests_per_s: Annotated[float, Field(gt=0)]
    """Requests/s that the target replicas carry at most."""
    output_tokens_per_s: Annotated[float, Field(gt=0)]
    """Output tokens/s of all clients, at `requests_per_s`."""
    target_replicas: PositiveInt
    """Target replicas."""
    draft_replicas: NonNegativeInt = 0
    """Replicas of the draft pool."""
    sequences: Annotated[float, Field(gt=0)]
    """Sequences that generate at once on a target replica, at `requests_per_s`."""
    max_sequences: PositiveInt
    """Sequences that a target replica holds at most."""
    kv_bytes_per_rank: PositiveInt
    """KV memory of a rank."""
    ttft_s: Annotated[float, Field(gt=0)]
    """Mean seconds to the first token, at `requests_per_s`."""
    itl_s: Annotated[float, Field(gt=0)]
    """Mean seconds per output token of one sequence, at `requests_per_s`."""


class DeploymentConfig(Frozen):
    """The whole of one deployment: the `args` of the Serve application."""

    model: ModelConfig = ModelConfig()
    engine: EngineConfig = EngineConfig()
    placement: PlacementConfig = PlacementConfig()
    speculation: SpeculationConfig = SpeculationConfig()
    router: RouterConfig = RouterConfig()
    scaling: ScalingConfig = ScalingConfig()
    server: ServerConfig = ServerConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    plan: PlanConfig | None = None
    ingress_replicas: PositiveInt = 1
    """Processes that speak HTTP, tokenise and detokenise."""
    target_replicas: PositiveInt = 1
    """Engines, each with weights and KV memory of its own; the least that there are, if `scaling.max_replicas` is
    more."""
