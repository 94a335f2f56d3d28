"""A conversation as the prompt that the model's own template makes of it."""

from llama4coder.server.anthropic.schemas import CountRequest
from llama4coder.server.chat import ChatExtras
from llama4coder.server.generation import Prompt
from llama4coder.server.preprocess import Preprocessor
from llama4coder.server.turns import template_turns


async def to_prompt(preprocessor: Preprocessor, body: CountRequest) -> Prompt:
    """The prompt; an assistant's turn at the end is the beginning of the answer. Raises what `chat_prompt` raises."""
    messages = [{"role": message.role, "content": message.content} for message in body.messages]
    turns = template_turns([{"role": "system", "content": body.system}, *messages])
    return await preprocessor.chat_prompt(list(turns), ChatExtras(continues_last=True))
