"""Answers that fill a hole, cut by syntax."""

import asyncio
from dataclasses import replace

from llama4coder.server.generation import Chunk
from llama4coder.server.syntax import cut_at_syntax
from llama4coder.tokenizer.fim import Hole
from llama4coder.types import FinishReason


async def cut_chunk(chunk: Chunk, hole: Hole, language: str | None) -> Chunk:
    """A whole answer, shortened by the syntax of its language if there is one; what is cut off has been generated."""
    if language is None:
        return chunk
    length = await asyncio.to_thread(cut_at_syntax, hole.prefix + hole.middle, chunk.text, hole.suffix, language)
    if length == len(chunk.text):
        return chunk
    return replace(chunk, text=chunk.text[:length], finish_reason=FinishReason.STOP, stop_string=None)
