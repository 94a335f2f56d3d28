"""What `llama4coder serve` says when it is ready."""

from llama4coder.resolved import ResolvedConfig

_BANNER = """
llama4coder is ready.

  URL             {url}/v1
  model           {model}
  context length  {context_length} tokens
  runs on         {ranks}{device}, {dtype}, KV memory for {kv_tokens} tokens
  metrics         {url}/metrics

Try it:

  curl {url}/v1/chat/completions {authorization}-H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Write a haiku about code."}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  answer = client.chat.completions.create(model="{model}", messages=[{{"role": "user", "content": "Hello"}}])
  print(answer.choices[0].message.content)

Stop it with Ctrl-C.
"""


def base_url(host: str, port: int, *, has_tls: bool = False) -> str:
    """The URL that a client on this machine uses."""
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    scheme = "https" if has_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def banner(url: str, config: ResolvedConfig) -> str:
    """Everything needed to make the first request."""
    has_keys = config.server.keys_file is not None
    return _BANNER.format(
        url=url,
        authorization="-H 'Authorization: Bearer YOUR_KEY' " if has_keys else "",
        key="YOUR_KEY" if has_keys else "none",
        model=config.model.name,
        context_length=config.model.context_length,
        ranks="" if config.engine.ranks == 1 else f"{config.engine.ranks} ranks, ",
        device=config.engine.device,
        dtype=config.model.dtype,
        kv_tokens=config.engine.num_blocks * config.engine.kv_shards * config.engine.block_size,
    )
