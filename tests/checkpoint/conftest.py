"""Tiny models as GGUF files."""

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.support.progress import CountingProgress
from tests.support.tiny_gguf import TinyGguf, random_llama, tiny_gguf_of


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llama() -> LlamaForCausalLM:
    return random_llama(tied=True)


@pytest.fixture
def tiny(llama: LlamaForCausalLM) -> TinyGguf:
    return tiny_gguf_of(llama)


@pytest.fixture
def progress() -> CountingProgress:
    return CountingProgress()
