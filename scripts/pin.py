"""Print constraints.txt: the installed version of everything that our dependencies need, from this virtual environment.

Usage: .venv/bin/python scripts/pin.py > constraints.txt
"""

import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import requires as installed_requires
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

HEADER = "# Tested versions of everything that pyproject.toml asks for; made by scripts/pin.py.\n"


def declared() -> list[Requirement]:
    """Every requirement of ours, of all extras."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for group in (project["dependencies"], *extras) for line in group]


def needed_by(requirement: Requirement) -> Iterator[Requirement]:
    """What an installed distribution asks for here, with the extras that `requirement` names."""
    for line in installed_requires(requirement.name) or []:
        child = Requirement(line)
        if any(child.marker is None or child.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
            yield child


def closure(roots: Iterable[Requirement]) -> set[str]:
    """Canonical names of everything reachable from `roots`."""
    names: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = list(roots)
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key not in seen:
            seen.add(key)
            names.add(name)
            queue.extend(needed_by(requirement))
    return names


def main() -> None:
    # A local label such as +cpu names one build; the pin must accept every build of the version.
    print(HEADER + "\n".join(f"{name}=={Version(version(name)).public}" for name in sorted(closure(declared()))))


if __name__ == "__main__":
    main()
