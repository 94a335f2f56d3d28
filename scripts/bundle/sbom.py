"""The bundle's bill of materials, in CycloneDX 1.6."""

from collections.abc import Sequence
from email.message import Message
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.bundle.licences import UNKNOWN, Carried, carried, licence_of
from scripts.bundle.wheels import EMBEDDED_MODEL, Wheel

_PROJECT = "llama4coder"


def write_sbom(wheels: Sequence[Wheel], path: Path) -> None:
    """Write a file that holds every wheel, what they carry, and who needs whom; `ValueError` if it is not valid."""
    text = JsonV1Dot6(_bom(wheels)).output_as_string(indent=2)
    if (error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise ValueError(f"{path} is not CycloneDX: {error}")
    path.write_text(text + "\n", encoding="utf-8")


def _bom(wheels: Sequence[Wheel]) -> Bom:
    components = {wheel.name: _component(wheel) for wheel in wheels}
    bom = Bom(components=[component for name, component in components.items() if name != _PROJECT])
    bom.metadata.component = components[_PROJECT]
    for wheel in wheels:
        needed = [components[name] for name in sorted(_needs(wheel.metadata)) if name in components]
        if wheel.name == _PROJECT:
            needed.append(components[EMBEDDED_MODEL])
        bom.register_dependency(components[wheel.name], [each for each in needed if each is not components[wheel.name]])
    for each in carried(wheels):
        inner = _inner(each)
        bom.components.add(inner)
        bom.register_dependency(components[each.within], [inner])
    return bom


def _component(wheel: Wheel) -> Component:
    licence = licence_of(wheel.metadata)
    url = PackageURL("pypi", name=wheel.name, version=wheel.version)
    return Component(
        name=wheel.name,
        version=wheel.version,
        type=ComponentType.APPLICATION if wheel.name == _PROJECT else ComponentType.LIBRARY,
        bom_ref=url.to_string(),
        purl=url,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
        licenses=[] if licence == UNKNOWN else [_licence(licence)],
        properties=[Property(name="llama4coder:file", value=f"wheels/{wheel.path.name}")],
    )


def _inner(each: Carried) -> Component:
    is_model = each.within == EMBEDDED_MODEL
    return Component(
        name=each.name,
        version=each.version,
        type=ComponentType.MACHINE_LEARNING_MODEL if is_model else ComponentType.APPLICATION,
        bom_ref=f"{each.within}/{each.name}",
        licenses=[_licence(each.licence)],
    )


def _licence(told: str) -> License:
    """By SPDX where that knows it, else by the package's own words."""
    return LicenseFactory().make_from_string(told)


def _needs(metadata: Message) -> set[str]:
    """Packages that are needed here, with any extra."""
    needs = set()
    for told in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(told)
        if (
            requirement.marker is None
            or requirement.marker.evaluate({"extra": ""})
            or "extra" in str(requirement.marker)
        ):
            needs.add(str(canonicalize_name(requirement.name)))
    return needs
