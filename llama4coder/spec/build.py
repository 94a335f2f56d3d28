"""From the configuration to the speculation of one engine."""

from llama4coder.errors import ConfigError
from llama4coder.machine import detect_machine
from llama4coder.obs.stats import SpeculationObserver
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.spec.first_of import FirstOf
from llama4coder.spec.ngram import LongMatches, NgramProposer
from llama4coder.spec.speculator import Speculator
from llama4coder.spec.types import NoSpeculation, Proposer, Speculation


def build_speculation(config: ResolvedConfig, vocab_size: int, observer: SpeculationObserver) -> Speculation:
    """What an engine with `config` speculates by; `vocab_size` is the width of the target's logits.

    Raises:
        ConfigError: the method needs what is not here.
    """
    match config.speculation.method:
        case "none":
            return NoSpeculation()
        case "ngram":
            return speculate(NgramProposer(), config, vocab_size, observer)
        case "local":
            # Needs torch, which an engine whose ranks are processes of their own does without otherwise.
            from llama4coder.spec.local_loading import load_local

            drafting = load_local(config, detect_machine(config.engine.device), NullProgress())
            return speculate(beside_ngrams(drafting), config, vocab_size, observer)
        case "pool" as method:
            raise ConfigError(f"speculation.method {method} is not available here; use local, ngram or none")


def speculate(
    proposer: Proposer, config: ResolvedConfig, vocab_size: int, observer: SpeculationObserver
) -> Speculation:
    """Speculation by the guesses of one proposer."""
    return Speculator(proposer, vocab_size, config.speculation.max_draft_tokens, observer)


def beside_ngrams(drafting: Proposer) -> Proposer:
    """A draft model's guesses, after long matches, which are likelier, and before short ones, which are not."""
    ngram = NgramProposer()
    return FirstOf([LongMatches(ngram), drafting, ngram])
