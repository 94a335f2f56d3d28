"""What one step computes, as far as its time depends on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepLoad:
    """Of one replica, whatever the number of its ranks; a step without tokens takes no time."""

    num_tokens: int  # through the layers, those of prefills and guesses included
    num_sampled: int  # of them, those whose logits are computed
    num_decode_rows: int  # sequences that are generating
    num_read_tokens: int  # whose keys and values the generating sequences read, summed over them
    num_prefill_tokens: int = 0  # of `num_tokens`, those of prompts
    num_prefill_pairs: int = 0  # of a query and a key, in chunks of prompts
    num_reread_tokens: int = 0  # of `num_read_tokens`, those that a sequence before has read in the same step

    @classmethod
    def decoding(cls, num_rows: int, num_read_tokens: int, tokens_per_row: int = 1) -> "StepLoad":
        """Sequences that generate, each with its last token and perhaps guesses."""
        num_tokens = num_rows * tokens_per_row
        return cls(num_tokens, num_tokens, num_rows, num_read_tokens)

    @classmethod
    def prefill(cls, num_tokens: int, num_before: int = 0) -> "StepLoad":
        """A chunk of one prompt, behind `num_before` tokens that are computed already."""
        pairs = num_tokens * num_before + num_tokens * (num_tokens + 1) // 2
        return cls(num_tokens, 1, 0, 0, num_tokens, pairs)

    def __add__(self, other: "StepLoad") -> "StepLoad":
        """Both in one step."""
        return StepLoad(
            self.num_tokens + other.num_tokens,
            self.num_sampled + other.num_sampled,
            self.num_decode_rows + other.num_decode_rows,
            self.num_read_tokens + other.num_read_tokens,
            self.num_prefill_tokens + other.num_prefill_tokens,
            self.num_prefill_pairs + other.num_prefill_pairs,
            self.num_reread_tokens + other.num_reread_tokens,
        )

    @property
    def is_decode_only(self) -> bool:
        """Whether a CUDA graph may compute it."""
        return self.num_decode_rows > 0 and self.num_prefill_tokens == 0
