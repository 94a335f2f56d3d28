"""Run inside an environment with litellm: every provider of it that means a server of ours; prints what it got."""

import json
import sys

import litellm

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def main(url: str, model: str) -> dict[str, object]:
    litellm.telemetry = False
    litellm.drop_params = False
    common = {"messages": QUESTION, "max_tokens": 16, "temperature": 0, "num_retries": 0}
    roads = {
        "openai": {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "none"},
        "hosted_vllm": {"model": f"hosted_vllm/{model}", "api_base": f"{url}/v1", "api_key": "none"},
        "ollama_chat": {"model": f"ollama_chat/{model}", "api_base": url},
        "anthropic": {"model": f"anthropic/{model}", "api_base": url, "api_key": "none"},
    }
    got: dict[str, object] = {}
    for name, road in roads.items():
        got[name] = litellm.completion(**road, **common).choices[0].message.content
        parts = litellm.completion(**road, **common, stream=True)
        got[f"{name}_stream"] = "".join(part.choices[0].delta.content or "" for part in parts)
    text = litellm.text_completion(
        model=f"text-completion-openai/{model}",
        prompt="def add(",
        max_tokens=8,
        temperature=0,
        api_base=f"{url}/v1",
        api_key="none",
    )
    got["text"] = text.choices[0].text
    try:
        litellm.completion(**roads["openai"] | {"model": "openai/none"}, **common)
    except litellm.exceptions.NotFoundError as error:
        got["error"] = error.status_code
    try:
        litellm.completion(**roads["openai"], **common | {"messages": [{"role": "user", "content": "a b " * 20_000}]})
    except litellm.exceptions.ContextWindowExceededError:
        got["too_long"] = True
    return got


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2]), sys.stdout)
