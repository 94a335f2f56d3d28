"""What every dialect's routes are made of."""

from dataclasses import dataclass

from llama4coder.backend import GenerationBackend
from llama4coder.config import ServerConfig
from llama4coder.server.current import CurrentGeneration
from llama4coder.server.generation import Generation, Job
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.tenant import CurrentTenant
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import ServedModel


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One served model behind one backend."""

    backend: GenerationBackend
    model: ServedModel
    tokenizer: Tokenizer
    preprocessor: Preprocessor
    config: ServerConfig
    tenant: CurrentTenant
    current: CurrentGeneration

    def generation(self, job: Job) -> Generation:
        """A job, ready to be entered; its prompts count as used. Raises `RateLimited`."""
        self.tenant.take_prompts(sum(len(prompt.token_ids) for prompt in job.prompts))
        generation = Generation(self.backend, self.tokenizer, job)
        self.current.note(generation)
        return generation
