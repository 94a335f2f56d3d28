"""A tokenizer small enough to be trained inside a test: byte-level BPE with ChatML specials and chat template."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCAB_SIZE = 400

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = (
    "def add(first, second):\n    return first + second\n",
    "def multiply(first, second):\n    return first * second\n",
    "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        self.y = y\n",
    "for index in range(10):\n    print(index, add(index, index))\n",
    "import sys\n\nif __name__ == '__main__':\n    sys.exit(main())\n",
    "The quick brown fox jumps over the lazy dog. The capital of France is Paris.\n",
    "You are a helpful assistant. Write a function that returns the sum of the two numbers.\n",
)


def write_tiny_tokenizer(folder: Path, further_specials: Sequence[str] = (), *, declared: bool = True) -> None:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json into `folder`, which is made if missing.

    The specials have the ids 0, 1 and 2; ids of ordinary tokens go up to `VOCAB_SIZE` - 1, and then there are those of
    `further_specials`, which Qwen has without declaring them special. End of sequence is `<|im_end|>`. Every byte has a
    token, so any text can be encoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(piece, special=declared, normalized=False) for piece in further_specials])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer_config = {
        "add_bos_token": False,
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "chat_template": CHAT_TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config), encoding="utf-8")
    generation_config = {"bos_token_id": 1, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(generation_config), encoding="utf-8")
