"""`llama4coder plan`: whether a model fits, how fast it will be, how many GPUs it takes, and what it costs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType

from llama4coder.checkpoint.stored_quant import StoredQuant, read_stored_quant
from llama4coder.cli import audit_view
from llama4coder.cli.console import output_console
from llama4coder.cli.plan_view import view
from llama4coder.errors import ConfigError, Llama4CoderError
from llama4coder.planner.audit import Audit, audit_of
from llama4coder.planner.calibration import read_calibration
from llama4coder.planner.candidate import Wish, kv_format_of, quant_of
from llama4coder.planner.drafting import HIT_RATE
from llama4coder.planner.emit import emit_plan, write_file
from llama4coder.planner.gpus import GPUS, find_gpu
from llama4coder.planner.pictures import audit_picture, plan_picture
from llama4coder.planner.plan import Plan, make_plan
from llama4coder.planner.question import Draft, Hardware, Question
from llama4coder.planner.report import Report, report_of
from llama4coder.planner.shapes import find_model, model_names
from llama4coder.planner.traffic import HEADROOM, Objectives, Work, check_positive

NO_PLAN_EXIT_CODE = 2  # bad input, or nothing that would do

_DEFAULTS = Wish()
_MODEL = f"A checkpoint folder, or one of {', '.join(model_names())}."


def register(app: typer.Typer) -> None:
    """Add the `plan` command."""
    app.command()(plan)


def plan(  # noqa: PLR0913 - a command's options
    model: Annotated[str, typer.Argument(help=_MODEL)],
    gpu: Annotated[str, typer.Option(help=f"{', '.join(GPUS)}, or a .yaml file that describes one.")] = "H200",
    gpus: Annotated[int | None, typer.Option(help="In each node; as many as its kind has by default.")] = None,
    nodes: Annotated[int, typer.Option(help="Nodes.")] = 1,
    ranks: Annotated[int | None, typer.Option(help="GPUs of a replica; the fewest that fit by default.")] = None,
    kv_shards: Annotated[int | None, typer.Option(help="Ranks that hold the same heads.")] = None,
    quant: Annotated[str, typer.Option(help="Of weights: auto, none, fp8, nf4.")] = "auto",
    kv_format: Annotated[str, typer.Option(help="Of KV blocks: dense, fp8, int8, int4.")] = "dense",
    context: Annotated[int | None, typer.Option(help="Tokens; the model's own by default.")] = None,
    max_sequences: Annotated[int, typer.Option(help="Of a step.")] = _DEFAULTS.max_sequences,
    max_step_tokens: Annotated[int, typer.Option(help="Of a step.")] = _DEFAULTS.max_step_tokens,
    guesses: Annotated[int, typer.Option(help="Of one sequence in a step, at most.")] = _DEFAULTS.max_draft_tokens,
    rate: Annotated[float | None, typer.Option(help="Requests/s in all; what the GPUs carry by default.")] = None,
    prompt_tokens: Annotated[int, typer.Option(help="Of a request, on average.")] = 4000,
    output_tokens: Annotated[int, typer.Option(help="Of a request, on average.")] = 400,
    shared_prefix: Annotated[float, typer.Option(help="Share of the prompt that is cached, 0 to 1.")] = 0.0,
    ttft: Annotated[float | None, typer.Option(help="Mean ms to the first token, at most.")] = None,
    itl: Annotated[float | None, typer.Option(help="Mean ms between tokens, at most.")] = None,
    utilisation: Annotated[float, typer.Option(help="Share of its capacity that a replica may carry.")] = HEADROOM,
    acceptance: Annotated[float | None, typer.Option(help="Share of guesses that are right, 0 to 0.99.")] = None,
    draft: Annotated[str | None, typer.Option(help="Draft model of a pool, such as llama-3.2-3b.")] = None,
    hit_rate: Annotated[float, typer.Option(help="Share of outcomes that the pool has guessed for.")] = HIT_RATE,
    price_per_hour: Annotated[float | None, typer.Option(help="Of one GPU, in any currency.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Of `llama4coder calibrate`, in place of the GPU's data sheet.")
    ] = None,
    audit: Annotated[bool, typer.Option("--audit", help="Every format on 1 to 16 ranks: what fits.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    plot: Annotated[Path | None, typer.Option(help="An .svg file to write a picture to.")] = None,
    emit: Annotated[Path | None, typer.Option(help="A folder for a Serve config and a KubeRay manifest.")] = None,
) -> None:
    """Say whether a model fits, how fast it is, how many GPUs a load takes and what it costs, from arithmetic alone."""
    wish = _Wished(ranks, kv_shards, quant, kv_format, context, max_sequences, max_step_tokens, guesses)
    asked = _Asked(model, gpu, gpus, nodes, price_per_hour, draft, hit_rate)
    wanted = _Output(as_json, plot, emit)
    try:
        wanted.check()
        if audit:
            wanted.show_audit(audit_of(find_model(model), asked.hardware().gpu, wish.wish()))
            return
        question = Question(
            find_model(model),
            asked.hardware(),
            wish=wish.wish(),
            work=Work(prompt_tokens, output_tokens, shared_prefix),
            objectives=Objectives(_seconds("--ttft", ttft), _seconds("--itl", itl), utilisation),
            rate_per_s=rate,
            acceptance=acceptance,
            draft=asked.draft(),
            ranks_are_free=ranks is None,
            stored=asked.stored(),
            calibration=None if calibration is None else read_calibration(calibration),
        )
        answer = make_plan(question)
        wanted.show_plan(answer)
    except Llama4CoderError as error:
        raise _refuse(str(error)) from None
    if problem := _problem(answer):
        raise _refuse(problem)


@dataclass(frozen=True, slots=True)
class _Wished:
    """Options of a replica as they were typed."""

    ranks: int | None
    kv_shards: int | None
    quant: str
    kv_format: str
    context: int | None
    max_sequences: int
    max_step_tokens: int
    guesses: int

    def wish(self) -> Wish:
        return Wish(
            ranks=1 if self.ranks is None else self.ranks,
            kv_shards=self.kv_shards,
            quant="auto" if self.quant == "auto" else quant_of(self.quant),
            kv_format=kv_format_of(self.kv_format),
            context_length=self.context,
            max_sequences=self.max_sequences,
            max_step_tokens=self.max_step_tokens,
            max_draft_tokens=self.guesses,
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Options of models and GPUs as they were typed."""

    model: str
    gpu: str
    gpus: int | None
    nodes: int
    price_per_hour: float | None
    draft_model: str | None
    hit_rate: float

    def hardware(self) -> Hardware:
        kind = find_gpu(self.gpu)
        if self.price_per_hour is not None:
            check_positive("--price-per-hour", self.price_per_hour)
            kind = kind.model_copy(update={"price_per_hour": self.price_per_hour})
        return Hardware.of(kind, self.gpus, self.nodes)

    def draft(self) -> Draft | None:
        if not 0 <= self.hit_rate <= 1:
            raise ConfigError(f"--hit-rate {self.hit_rate:g} is no share: give a number from 0 to 1")
        return None if self.draft_model is None else Draft(find_model(self.draft_model), self.hit_rate)

    def stored(self) -> StoredQuant | None:
        """How the weights of a folder are kept."""
        folder = Path(self.model)
        return read_stored_quant(folder) if folder.is_dir() and self.model.lower() not in model_names() else None


@dataclass(frozen=True, slots=True)
class _Output:
    """What is shown, and written where."""

    as_json: bool
    plot: Path | None
    emit: Path | None

    def check(self) -> None:
        """Raise `ConfigError` for a picture of a kind that is not drawn."""
        if self.plot is not None and self.plot.suffix != ".svg":
            raise ConfigError(f"--plot {self.plot}: only .svg files are written")

    def show_plan(self, answer: Plan) -> None:
        report = report_of(answer)
        self._show(report, view(report))
        if self.plot is not None:
            write_file(self.plot, plan_picture(answer))
        if self.emit is not None and answer.fit.does_fit:
            emit_plan(answer, self.emit)

    def show_audit(self, found: Audit) -> None:
        if self.emit is not None:
            raise ConfigError("--emit is for one plan, and --audit compares many: leave one of them out")
        self._show(found, audit_view.view(found))
        if self.plot is not None:
            write_file(self.plot, audit_picture(found))

    def _show(self, content: Report | Audit, shown: RenderableType) -> None:
        if self.as_json:
            typer.echo(msgspec.json.encode(content).decode())
        else:
            output_console().print(shown)


def _seconds(option: str, milliseconds: float | None) -> float | None:
    check_positive(option, milliseconds)
    return None if milliseconds is None else milliseconds / 1e3


def _problem(answer: Plan) -> str | None:
    """What is wrong with a plan that was made."""
    if not answer.fit.does_fit:
        return "it does not fit: take one of the plans that do, or allow more ranks, fewer bits or a shorter context"
    if answer.missing_gpus:
        return f"{answer.missing_gpus} GPUs are missing: raise --gpus or --nodes, or lower --rate or the objectives"
    return None


def _refuse(problem: str) -> typer.Exit:
    typer.echo(f"llama4coder: {problem}", err=True)
    return typer.Exit(NO_PLAN_EXIT_CODE)
