"""A file and the same file after a few edits, as token ids: what code editing looks like to a proposer."""

import random


def edited_file(seed: int, num_lines: int = 120, num_edits: int = 6) -> tuple[list[int], list[int]]:
    """A file of lines that share many tokens, and the same after lines were replaced, inserted, deleted or changed."""
    rng = random.Random(seed)
    stock = [[rng.randrange(30) for _ in range(rng.randrange(4, 9))] for _ in range(40)]
    old = [rng.choice(stock) if rng.random() < 0.5 else [*rng.choice(stock), 1000 + n] for n in range(num_lines)]
    new = list(old)
    for number in sorted(rng.sample(range(num_lines), num_edits), reverse=True):
        fresh = [rng.randrange(2000, 3000) for _ in range(6)]
        new[number : number + rng.choice((0, 1))] = rng.choice(([], [fresh], [[*new[number][:-1], 7777]]))
    return [token_id for line in old for token_id in line], [token_id for line in new for token_id in line]
