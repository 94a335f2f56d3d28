"""How many of the embedded model's outputs under generated schemas validate: all that came to an end, or this stops.

python -m tests.bench.schemas [--number 1000] [--first 0]
"""

import argparse
import time

from tests.support.schema_sampling import BATCH, embedded_subject, num_cut


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first one, for several processes")
    options = parser.parse_args()
    last = options.first + options.number
    start_s, cut = time.perf_counter(), 0
    with embedded_subject() as subject:
        for first in range(options.first, last, BATCH):
            numbers = range(first, min(first + BATCH, last))
            cut += num_cut(subject, numbers, depth=3)
            done = numbers.stop - options.first
            print(f"{done} schemas: {done - cut} valid, {cut} cut, {time.perf_counter() - start_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
