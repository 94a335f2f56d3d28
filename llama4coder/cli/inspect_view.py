"""An inspection, for the terminal."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama4coder.inspection.licence import Licence, LlamaDuties
from llama4coder.inspection.positions import Positions, Rope
from llama4coder.inspection.quantisation import Quantisation
from llama4coder.inspection.report import Inspection
from llama4coder.inspection.sizes import FormatSize, Sizes
from llama4coder.inspection.template import TemplateFacts
from llama4coder.inspection.verdict import Backend
from llama4coder.inspection.vocabulary import Hole, Vocabulary

_NOT_SAID = "not said"
_NONE = "none"


def view(inspection: Inspection) -> RenderableType:
    """What it is, then its size in every format, then whether it is served."""
    parts: list[RenderableType] = [_facts(inspection)]
    if inspection.sizes is not None:
        parts += _sizes(inspection.sizes, inspection.reason)
    return Group(*parts, _verdict(inspection))


def _facts(inspection: Inspection) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(inspection):
        table.add_row(name, Text(value))
    return table


def _lines(inspection: Inspection) -> Iterator[tuple[str, str]]:
    parameters = inspection.parameters
    yield "model", inspection.path
    yield "family", f"{inspection.family}, from a {inspection.source} of {_bytes(parameters.num_bytes)}"
    yield "parameters", f"{parameters.total:,}"
    stored = ", ".join(f"{dtype} {count:,}" for dtype, count in parameters.by_dtype.items())
    yield "stored as", stored or "no tensors found"
    yield "quantised", _quantisation(inspection.quantisation)
    yield from _position_lines(inspection.positions)
    yield from _vocabulary_lines(inspection.vocabulary)
    yield from _template_lines(inspection.template)
    yield from _licence_lines(inspection.licence)


def _quantisation(quantisation: Quantisation | None) -> str:
    if quantisation is None:
        return "no"
    bits = None if quantisation.bits is None else f"{quantisation.bits} bits"
    return ", ".join(part for part in (quantisation.method, bits, quantisation.detail) if part)


def _position_lines(positions: Positions) -> Iterator[tuple[str, str]]:
    yield "context", _tokens(positions.context_length) or _NOT_SAID
    yield "RoPE", _NOT_SAID if positions.rope is None else _rope(positions.rope)
    yield "sliding window", _tokens(positions.sliding_window) or _NONE


def _rope(rope: Rope) -> str:
    parts = [rope.rope_type]
    if rope.theta is not None:
        parts.append(f"theta {rope.theta:,.10g}")
    if rope.factor is not None:
        parts.append(f"factor {rope.factor:g}")
    if rope.original_context_length is not None:
        parts.append(f"from {rope.original_context_length:,} tokens")
    return ", ".join(parts)


def _vocabulary_lines(vocabulary: Vocabulary | None) -> Iterator[tuple[str, str]]:
    if vocabulary is None:
        yield "vocabulary", "no tokenizer.json"
        return
    habit = "before a raw prompt" if vocabulary.adds_bos else "not before a raw prompt"
    yield "vocabulary", f"{vocabulary.size:,} tokens"
    yield "BOS", _NONE if vocabulary.bos is None else f"{vocabulary.bos}, {habit}"
    yield "EOS", " ".join(vocabulary.eos) or _NONE
    yield "fill in the middle", _NONE if vocabulary.hole is None else _hole(vocabulary.hole)
    yield "repository tokens", " ".join(vocabulary.repository) or _NONE


def _hole(hole: Hole) -> str:
    """As the prompt is written, dots for text."""
    first, second = (hole.suffix, hole.prefix) if hole.suffix_first else (hole.prefix, hole.suffix)
    return f"{first} … {second} … {hole.middle or ''}".rstrip()


def _template_lines(template: TemplateFacts | None) -> Iterator[tuple[str, str]]:
    yield "chat template", _NONE if template is None else template.kind
    yield "tool calls", _NONE if template is None else template.tools


def _licence_lines(licence: Licence) -> Iterator[tuple[str, str]]:
    found = (f"{one.licence.name} ({one.where})" for one in licence.found)
    yield "licence", ", ".join(found) or "nothing found: look where the model came from"
    if licence.llama is not None:
        yield from _duty_lines(licence.llama)


def _duty_lines(duties: LlamaDuties) -> Iterator[tuple[str, str]]:
    missing = "above 700 million of them its licence asks for one of your own; the text is not among these files"
    yield "monthly users", missing if duties.users_clause is None else f"“{duties.users_clause}”"
    if duties.display is not None:
        yield "to be shown", f"“{duties.display}”, prominently, by products that use or distribute it"
    if duties.display_clause is not None:
        yield "", f"“{duties.display_clause}”"


def _sizes(sizes: Sizes, told: str | None) -> list[RenderableType]:
    """With the reasons of refusals below, but for the one that the verdict tells."""
    refusals = dict.fromkeys(size.refusal for size in (*sizes.weights, *sizes.kv_per_token) if size.refusal)
    numbers = {reason: f"({index})" for index, reason in enumerate((one for one in refusals if one != told), 1)}
    return [
        _size_table("weights", sizes.weights, numbers),
        _size_table("KV, one token", sizes.kv_per_token, numbers),
        *(Text(f"{number} {reason}") for reason, number in numbers.items()),
    ]


def _size_table(title: str, sizes: Sequence[FormatSize], numbers: dict[str, str]) -> Table:
    table = Table(title, box=box.SIMPLE_HEAD)
    table.add_column("bytes", justify="right")
    table.add_column("")
    table.add_column("served here")
    for size in sizes:
        served = "yes" if size.refusal is None else f"no {numbers.get(size.refusal, '')}".rstrip()
        table.add_row(size.name, f"{size.num_bytes:,.0f}", _bytes(size.num_bytes), served)
    return table


def _verdict(inspection: Inspection) -> Text:
    if inspection.is_served:
        return Text("\nserved here by llama4coder's engine")
    other = {
        Backend.ENGINE: "llama4coder's engine could serve it elsewhere, or with other settings",
        Backend.TRANSFORMERS: "Hugging Face Transformers has this architecture, and may serve it (transformers serve)",
        None: "no backend is known that could serve it",
    }
    return Text(f"\nnot served here, because {inspection.reason}\n{other[inspection.backend]}")


def _tokens(count: int | None) -> str | None:
    return None if count is None else f"{count:,} tokens"


def _bytes(count: float) -> str:
    """With a unit in which it has at most four digits before the point."""
    units = ("B", "KiB", "MiB", "GiB")
    exponent = min(len(units) - 1, max(0, (int(count).bit_length() - 1) // 10))
    return f"{count / 1024**exponent:.4g} {units[exponent]}"
