"""Licences that models come under, told by their texts and by the identifiers of model cards.

Sources: the licence texts themselves, and Hugging Face's list of licence identifiers. What is found here is a name to
look the licence up by; it is no advice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "unknown"
_LLAMA_TITLE = re.compile(r"llama\s+(\d(?:\.\d)?)\s+community\s+license", re.IGNORECASE)
_LLAMA_IDENTIFIER = re.compile(r"llama-?(\d(?:\.\d)?)$")

# By words of the text's beginning; the special ones first, since some of them name the common ones.
_BEGINNING = 1000  # characters; further down other licences may be spoken of
_TITLES: Mapping[str, str] = {
    "mistral ai non-production license": "Mistral AI Non-Production License (MNPL)",
    "mistral ai research license": "Mistral AI Research License (MRL)",
    "deepseek license agreement": "DeepSeek Model License",
    "gemma terms of use": "Gemma Terms of Use",
    "bigcode open rail-m": "BigCode OpenRAIL-M",
    "bigcode openrail-m": "BigCode OpenRAIL-M",
    "qwen research license": "Qwen Research License",
    "tongyi qianwen license": "Tongyi Qianwen License",
    "qwen license agreement": "Qwen License",
    "modified mit license": "Modified MIT License",
    "permission is hereby granted, free of charge": "MIT",
    "apache license version 2.0": "Apache-2.0",
    "acceptable use policy": "Acceptable Use Policy",
}
_NO_NAMES = frozenset({"", "other", "unknown"})
_IDENTIFIERS: Mapping[str, str] = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "gemma": "Gemma Terms of Use",
    "bigcode-openrail-m": "BigCode OpenRAIL-M",
    "deepseek": "DeepSeek Model License",
    "deepseek-license": "DeepSeek Model License",
    "mnpl": "Mistral AI Non-Production License (MNPL)",
    "mnpl-0.1": "Mistral AI Non-Production License (MNPL)",
    "mrl": "Mistral AI Research License (MRL)",
    "qwen-research": "Qwen Research License",
}


@dataclass(frozen=True, slots=True)
class LicenceName:
    """One licence; `llama_version` is that of Llama's community licences, such as 3.1."""

    name: str
    llama_version: str | None = None


def name_of_text(text: str) -> LicenceName:
    """The licence that a text is, or names; `unknown` for any other."""
    words = " ".join(text.split())[:_BEGINNING]
    title = _LLAMA_TITLE.search(words)
    if title is not None:
        return _llama(title[1])
    lower = words.lower().replace("license, version", "license version")
    return LicenceName(next((name for part, name in _TITLES.items() if part in lower), UNKNOWN))


def name_of_identifier(identifier: str) -> LicenceName:
    """The licence that a model card means; one not known here keeps its identifier as its name."""
    plain = identifier.strip().lower()
    if plain in _NO_NAMES:
        return LicenceName(UNKNOWN)
    llama = _LLAMA_IDENTIFIER.match(plain)
    return _llama(llama[1]) if llama is not None else LicenceName(_IDENTIFIERS.get(plain, identifier.strip()))


def _llama(version: str) -> LicenceName:
    return LicenceName(f"Llama {version} Community License", version)
