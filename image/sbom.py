"""Lists what is in a tree, as CycloneDX: Debian's packages and the product's Python ones. It must not fetch anything.

Source of the form: the CycloneDX 1.5 JSON schema, and the purl types `deb` and `pypi`.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from image.mirror import SUITE

_SPACE: Final = uuid.UUID("6f1b2b52-2c6c-4c39-9d0b-5a5f4a7b6a10")  # of no meaning but to be ours


def document(name: str, version: str, epoch: int, components: Iterable[dict[str, Any]]) -> str:
    """The list. Its serial number is made of what it says, so that the same image has the same list."""
    found = sorted(components, key=lambda component: component["purl"])
    said = json.dumps([name, version, found], sort_keys=True)
    when = datetime.datetime.fromtimestamp(epoch, datetime.UTC).isoformat().replace("+00:00", "Z")
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, said)}",
        "version": 1,
        "metadata": {
            "timestamp": when,
            "component": {"type": "operating-system", "name": name, "version": version},
        },
        "components": found,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def of_dpkg(status: str) -> Iterator[dict[str, Any]]:
    """Installed packages of /var/lib/dpkg/status, with the source package that a security notice names."""
    for paragraph in status.strip().split("\n\n"):
        said = HeaderParser().parsestr(paragraph)
        if said["Status"] is None or not said["Status"].endswith(" installed"):
            continue
        name, version = said["Package"], said["Version"]
        source, _, of_source = (said["Source"] or name).partition(" ")
        architecture = said["Architecture"]
        upstream = f"&upstream={quote(source)}@{quote(of_source.strip('()') or version, safe='')}"
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}"
        yield {
            "type": "library",
            "bom-ref": f"deb:{name}:{architecture}",
            "name": name,
            "version": version,
            "purl": f"{purl}?arch={architecture}&distro={SUITE}{upstream}",
        }


def of_python(metadata: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Distributions, by the METADATA file of each."""
    for text in metadata:
        said = HeaderParser().parsestr(text)
        name, version = said["Name"], said["Version"]
        licence = said["License-Expression"]
        yield {
            "type": "library",
            "bom-ref": f"pypi:{name}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{quote(name.lower().replace('_', '-'), safe='')}@{quote(version, safe='')}",
            **({"licenses": [{"expression": licence}]} if licence else {}),
        }


def of_tree(tree: Path, environment: str) -> Iterator[dict[str, Any]]:
    yield from of_dpkg((tree / "var/lib/dpkg/status").read_text(encoding="utf-8"))
    paths = sorted((tree / environment).glob("lib/python*/site-packages/*.dist-info/METADATA"))
    yield from of_python(path.read_text(encoding="utf-8") for path in paths)
