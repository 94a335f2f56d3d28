"""GGUF files, also of architectures that are not converted."""

from pathlib import Path

import gguf
import pytest

from llama4coder.inspection.gguf_files import read_gguf
from llama4coder.inspection.positions import Positions, Rope
from llama4coder.inspection.report import inspect_model
from llama4coder.machine import Machine
from tests.support.tiny_gguf import TinyGguf, random_llama, tiny_gguf_of

MACHINE = Machine("cpu", 8 * 2**30, num_cpus=1, computes_bfloat16=True)


def test_file_that_is_converted(tmp_path: Path) -> None:
    path = tiny_gguf_of(random_llama(tied=False)).write(tmp_path / "tiny.gguf")
    found = inspect_model(str(path), MACHINE)
    assert (found.is_served, found.quantisation) == (True, None)
    assert found.parameters.total == sum(parameter.numel() for parameter in random_llama(tied=False).parameters())
    assert found.positions == Positions(128, None, Rope("default", 5000.0, None, None))
    assert found.vocabulary is not None
    assert (found.vocabulary.bos, found.vocabulary.adds_bos, found.vocabulary.eos) == ("<s>", False, ("<s>",))


def test_architecture_that_is_not_converted(tmp_path: Path) -> None:
    tiny = TinyGguf(architecture="starcoder2", rope_scaling=gguf.RopeScalingType.YARN, pre="starcoder", eos=999)
    tiny.settings = {"starcoder2.attention.sliding_window": 64}
    found = inspect_model(str(tiny.write(tmp_path / "tiny.gguf")), MACHINE)
    assert (found.family, found.is_served, found.backend, found.sizes) == ("starcoder2", False, None, None)
    assert found.reason is not None
    assert "holds the architecture starcoder2" in found.reason
    assert found.positions == Positions(128, 64, Rope("yarn", 5000.0, None, None))
    assert found.vocabulary is not None
    assert found.vocabulary.eos == (), "there is no such token"


@pytest.mark.parametrize(("change", "reason"), [({"pre": "unheard-of"}, "pre-tokenizer"), ({}, "is missing")])
def test_llama_that_cannot_be_converted(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    """Without tensors there is the second reason."""
    tensors = tiny_gguf_of(random_llama(tied=False)).tensors if change else {}
    path = TinyGguf(tensors=tensors, **change).write(tmp_path / "tiny.gguf")
    assert reason in (read_gguf(path).refusal or "")


def test_sentencepiece_begins_with_bos_unless_the_file_says_no(tmp_path: Path) -> None:
    class Silent(gguf.GGUFWriter):
        def add_add_bos_token(self, value: bool) -> None:
            pass

    def adds_bos(writer: type[gguf.GGUFWriter]) -> bool | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gguf, "GGUFWriter", writer)
            tokens = read_gguf(TinyGguf(model="llama").write(tmp_path / "tiny.gguf")).tokens
        return tokens and tokens.adds_bos

    assert (adds_bos(Silent), adds_bos(gguf.GGUFWriter)) == (True, False)


def test_tokens_that_only_fill_up_are_not_counted(tmp_path: Path) -> None:
    tiny = TinyGguf()
    tiny.kinds[-1] = 5
    tokens = read_gguf(tiny.write(tmp_path / "tiny.gguf")).tokens
    assert tokens is not None
    assert tokens.pieces == frozenset(tiny.tokens[:-1])
