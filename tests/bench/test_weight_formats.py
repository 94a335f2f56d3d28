"""What the benchmark of weight formats says of its acceptance."""

from llama4coder.config import KVFormat, QuantFormat
from llama4coder.perplexity.formats import Format
from llama4coder.perplexity.interval import Estimate, Interval
from llama4coder.perplexity.report import Measured, Row
from tests.bench.weight_formats import judge


def row(quant: QuantFormat, kv_format: KVFormat, loss_percent: float) -> Row:
    loss = Estimate(loss_percent, Interval(loss_percent - 0.5, loss_percent + 0.5))
    return Row(Format(quant, kv_format), Measured("bfloat16", Estimate(3.0, None), loss, 1, 1.0, 1.0))


def test_met_and_not_met() -> None:
    """With dense KV, whatever other formats of it lose."""
    rows = [row("fp8", "int4", 9.0), row("fp8", "dense", 1.5), row("nf4", "dense", 6.01)]
    assert judge(rows) == [
        "fp8 <= +1.5 %: met: +1.50 % (+1.00 to +2.00)",
        "nf4 <= +6.0 %: NOT MET: +6.01 % (+5.51 to +6.51)",
    ]


def test_not_measured() -> None:
    rows = [Row(Format("fp8", "dense"), None, "cuda only")]
    assert judge(rows) == ["fp8 <= +1.5 %: NOT MEASURED", "nf4 <= +6.0 %: NOT MEASURED"]
