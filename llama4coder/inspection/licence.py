"""Under which licence a model comes, and what Llama's community licences ask of whoever serves it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llama4coder.inspection.files import LicenceFiles
from llama4coder.inspection.licence_names import UNKNOWN, LicenceName, name_of_identifier, name_of_text

_SENTENCE_END = re.compile(r"\n\s*\n|(?<=[.;])\s+(?=[A-Z(“\"]|\d+\.\s)")
_USERS = "700 million monthly active users"
_MOST_QUOTED = 1000  # characters, of a text that has no full stops


@dataclass(frozen=True, slots=True)
class FoundLicence:
    """One file, or a card's word, and the licence that it is about."""

    where: str
    licence: LicenceName


@dataclass(frozen=True, slots=True)
class LlamaDuties:
    """What Llama's licences ask beyond keeping their text; passages are quoted from the model's own files."""

    users_clause: str | None  # about 700 million users; None where the files hold no such passage
    display: str | None  # words that must be shown to users; None for Llama 2, which asks for none
    display_clause: str | None  # None where the files hold no such passage


@dataclass(frozen=True, slots=True)
class Licence:
    """Everything that was found; several files may be about several licences, such as one for code."""

    found: tuple[FoundLicence, ...]
    llama: LlamaDuties | None  # None for licences that are not Llama's


def read_licence(files: LicenceFiles) -> Licence:
    """By the licence texts, and by what the model card declares."""
    found = [FoundLicence(name, name_of_text(text)) for name, text in files.texts.items()]
    if files.declared is not None:
        found.append(FoundLicence("declared", name_of_identifier(files.declared)))
    version = next((one.licence.llama_version for one in found if one.licence.llama_version), None)
    duties = None if version is None else _duties(version, files.texts)
    return Licence(tuple(sorted(found, key=lambda one: one.licence.name == UNKNOWN)), duties)


def _duties(version: str, texts: Mapping[str, str]) -> LlamaDuties:
    display = _display(version)
    return LlamaDuties(
        users_clause=_passage(texts, _USERS),
        display=display,
        display_clause=None if display is None else _passage(texts, display),
    )


def _display(version: str) -> str | None:
    if version == "2":
        return None
    return "Built with Meta Llama 3" if version == "3" else "Built with Llama"


def _passage(texts: Mapping[str, str], words: str) -> str | None:
    """The sentence of a licence that has these words, in the licence's own."""
    for text in texts.values():
        for part in _SENTENCE_END.split(text):
            sentence = " ".join(part.split())
            if words in sentence:
                return _around(sentence, words)
    return None


def _around(sentence: str, words: str) -> str:
    first = max(0, sentence.index(words) - _MOST_QUOTED // 2)
    return sentence[first : first + _MOST_QUOTED]
