"""The embedded model itself: real weights, against transformers."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from llama4coder.checkpoint.folder import find_checkpoint
from llama4coder.env import cache_dir
from llama4coder.progress import NullProgress
from llama4coder.tokenizer.tokenizer import Tokenizer
from tests.support.engines import build_engine, greedy_request, resolved, run_all

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n",
    "class Stack:\n    def __init__(self):\n",
    "import os\n\n\ndef list_files(path):\n",
    "SELECT name FROM users WHERE",
    "#include <stdio.h>\n\nint main() {\n",
    "function add(a, b) {\n",
    "Water boils at a temperature of",
    "The quick brown fox",
    "for i in range(10):\n    print(",
    "A binary search tree is a data structure that",
    "fn main() {\n    let mut total = 0;\n",
    "To reverse a linked list, first",
    "<|im_start|>user\nWhat is a mutex?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a haiku about rain.<|im_end|>\n<|im_start|>assistant\n",
    'package main\n\nimport "fmt"\n\nfunc main() {\n',
    "1, 1, 2, 3, 5, 8, 13,",
    "try:\n    value = int(text)\nexcept",
    "The derivative of x squared is",
    "# README\n\nThis project",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return find_checkpoint("embedded", cache_dir(), NullProgress())


def test_greedy_output_equals_transformers(folder: Path) -> None:
    """All its next tokens are asked for at once: if each is the likeliest after those before, so is the whole."""
    tokenizer = Tokenizer.from_folder(folder)
    prompts = [tokenizer.encode(text, add_bos=False) for text in PROMPTS]
    engine = build_engine(resolved(folder, num_blocks=600, context_length=1024))
    ours = run_all(engine, [greedy_request(str(index), ids, 64) for index, ids in enumerate(prompts)])
    engine.close()
    reference = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for index, ids in enumerate(prompts):
        answer = ours[str(index)].token_ids
        assert len(answer) == 64
        with torch.inference_mode():
            logits = reference(torch.tensor([ids + answer])).logits[0]
        assert logits[len(ids) - 1 : -1].argmax(-1).tolist() == answer, PROMPTS[index]
