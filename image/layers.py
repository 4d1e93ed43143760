"""Reads the layers that an image is made of and adds them up for one target. It must not know how one is built.

A layer is `layers/NAME.toml` (packages, variables, units) and the files below `layers/NAME/rootfs`. Layers add and
never undo each other: two that contradict are a mistake, found here before anything is built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from image.errors import BuildError

LAYERS: Final = Path(__file__).parent / "layers"
ORDER: Final = ("base", "network", "hotspot", "hardening", "firstboot", "update")
_VARIABLE: Final = re.compile(r"@([A-Z][A-Z0-9_]*)@")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is added to an image."""

    packages: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    alternatives: dict[str, str] = {}
    ids: dict[str, int] = {}  # of accounts that own files which outlive an update
    firmware: tuple[str, ...] = ()  # globs below /usr/lib/firmware; all that none of them names is left out
    no_modules: tuple[str, ...] = ()  # what of the kernel's modules is left out, as globs
    remove: tuple[str, ...] = ()  # globs below /


class Layer(Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file; ``x86`` and ``pi`` hold what only that target gets."""

    summary: str
    x86: Part = Part()
    pi: Part = Part()


@dataclass(frozen=True, slots=True)
class Recipe:
    """All layers together, for one target. ``files`` are (where from, where to below /), in a stable order."""

    packages: tuple[str, ...]
    variables: Mapping[str, str]
    enable: tuple[str, ...]
    disable: tuple[str, ...]
    mask: tuple[str, ...]
    alternatives: Mapping[str, str]
    ids: Mapping[str, int]
    firmware: tuple[str, ...]
    no_modules: tuple[str, ...]
    remove: tuple[str, ...]
    files: tuple[tuple[Path, str], ...]


def load(name: str, directory: Path = LAYERS) -> Layer:
    path = directory / f"{name}.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Layer)
    except OSError as error:
        raise BuildError(os.EX_NOINPUT, f"The layer {path} cannot be read: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise BuildError(os.EX_CONFIG, f"The layer {path} is wrong: {error}.", "Mend the file.") from error


def recipe(target: str, set_variables: Mapping[str, str], directory: Path = LAYERS) -> Recipe:
    """All layers for ``target``, with ``set_variables`` in the place of their defaults."""
    parts: list[tuple[str, Part]] = []
    for name in ORDER:
        layer = load(name, directory)
        parts += [(name, layer), (name, getattr(layer, target))]
    found = contradictions(parts)
    files = _files(directory)
    found += twice("file", ((name, to) for name, _, to in files))
    variables = {key: value for _, part in parts for key, value in part.variables.items()}
    found += [f"variable {key}: set, but no layer has it" for key in sorted(set(set_variables) - set(variables))]
    if found:
        raise BuildError(os.EX_CONFIG, f"The layers contradict each other: {'; '.join(found)}.", "Mend image/layers.")
    return Recipe(
        packages=tuple(sorted({package for _, part in parts for package in part.packages})),
        variables={**variables, **set_variables},
        enable=tuple(unit for _, part in parts for unit in part.enable),
        disable=tuple(unit for _, part in parts for unit in part.disable),
        mask=tuple(unit for _, part in parts for unit in part.mask),
        alternatives={key: value for _, part in parts for key, value in part.alternatives.items()},
        ids={key: number for _, part in parts for key, number in part.ids.items()},
        firmware=tuple(pattern for _, part in parts for pattern in part.firmware),
        no_modules=tuple(name for _, part in parts for name in part.no_modules),
        remove=tuple(pattern for _, part in parts for pattern in part.remove),
        files=tuple((source, to) for _, source, to in files),
    )


def contradictions(parts: Iterable[tuple[str, Part]]) -> list[str]:
    """What two layers say of the same thing; a unit that is to be on and off, too."""
    parts = list(parts)
    return [
        *twice("package", ((name, package) for name, part in parts for package in part.packages)),
        *twice("variable", ((name, key) for name, part in parts for key in part.variables)),
        *twice("alternative", ((name, key) for name, part in parts for key in part.alternatives)),
        *twice("account", ((name, key) for name, part in parts for key in part.ids)),
        *twice("number", ((name, str(number)) for name, part in parts for number in part.ids.values())),
        *twice("unit", ((name, unit) for name, part in parts for unit in (*part.enable, *part.disable, *part.mask))),
    ]


def twice(kind: str, named: Iterable[tuple[str, str]]) -> list[str]:
    first: dict[str, str] = {}
    found = []
    for layer, thing in named:
        if thing in first:
            found.append(f"{kind} {thing}: in {first[thing]} and in {layer}")
        first.setdefault(thing, layer)
    return found


def fill(text: str, variables: Mapping[str, str], where: str) -> str:
    """``text`` with each @NAME@ replaced. A name that nobody knows is a mistake, not an empty string."""
    unknown = sorted({name for name in _VARIABLE.findall(text) if name not in variables})
    if unknown:
        raise BuildError(os.EX_CONFIG, f"{where} names the variable {unknown[0]}, which nobody sets.", "Mend the file.")
    return _VARIABLE.sub(lambda match: variables[match[1]], text)


def _files(directory: Path) -> list[tuple[str, Path, str]]:
    found = []
    for name in ORDER:
        root = directory / name / "rootfs"
        paths = sorted(path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
        found += [(name, path, str(path.relative_to(root))) for path in paths]
    return found
