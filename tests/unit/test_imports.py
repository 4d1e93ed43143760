"""Holds the import table of docs/architecture.md by walking every module's syntax tree. It imports no subject.

The table itself is the data: a row that is changed there is checked here, and a row that cannot be read fails.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("netctl", "portal")
HEADER = ["importer", "except", "may not import", "except", "because"]


@dataclass(frozen=True)
class Rule:
    importers: tuple[str, ...]
    importers_except: tuple[str, ...]
    forbidden: tuple[str, ...]
    forbidden_except: tuple[str, ...]
    reason: str

    def refuses(self, importer: str, imported: str) -> bool:
        return (
            _within(importer, self.importers)
            and not _within(importer, self.importers_except)
            and _within(imported, self.forbidden)
            and not _within(imported, self.forbidden_except)
        )


def _within(name: str, heads: tuple[str, ...]) -> bool:
    return any(head == "*" or name == head or name.startswith(head + ".") for head in heads)


def read_rules(markdown: str) -> list[Rule]:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in markdown.splitlines() if "|" in line
    ]
    start = rows.index(HEADER) + 2
    rules = []
    for cells in rows[start:]:
        assert len(cells) == len(HEADER), f"docs/architecture.md: the row {cells} of the import table lacks a column"
        names = [tuple(re.findall(r"`([\w.*]+)`", cell)) for cell in cells[:4]]
        assert names[0], f"docs/architecture.md: the row {cells} names no importer"
        assert names[2], f"docs/architecture.md: the row {cells} forbids nothing"
        assert cells[4], f"docs/architecture.md: the row {cells} gives no reason"
        rules.append(Rule(*names, reason=cells[4]))
    return rules


def imports_of(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of each import, those in functions and by importlib included.

    ``from a import b`` gives ``a.b``: whether b is a module cannot be seen here, and the rules fit both.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parent = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parent, base] if base else parent)
            yield from ((node.lineno, f"{base}.{alias.name}" if alias.name != "*" else base) for alias in node.names)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("importlib.import_module", "import_module", "__import__") and node.args:
                name = node.args[0]
                literal = isinstance(name, ast.Constant) and isinstance(name.value, str)
                yield node.lineno, name.value if literal else "<computed>"  # type: ignore[attr-defined]


def violations(source: str, module: str, rules: list[Rule], is_package: bool = False) -> list[str]:
    found = []
    for line, imported in imports_of(source, module, is_package):
        if imported == "<computed>":
            found.append(f"{module}:{line} computes a module's name: nobody can check it")
        found += [
            f"{module}:{line} imports {imported}: {rule.reason}" for rule in rules if rule.refuses(module, imported)
        ]
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


RULES = read_rules((ROOT / "docs/architecture.md").read_text())


@pytest.mark.parametrize(("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_module_keeps_to_the_table(module: str, path: Path) -> None:
    assert violations(path.read_text(), module, RULES, path.name == "__init__.py") == []


PLANTED = [
    ("portal.meter", "import netctl.engine", "privilege boundary"),
    ("portal.meter", "def f():\n    from netctl import plan", "privilege boundary"),
    ("portal.cli", "import importlib\nimportlib.import_module('netctl.kernel.linux')", "privilege boundary"),
    ("netctl.server", "from netctl.kernel import linux", "one writer"),
    ("netctl.server", "from .kernel.linux import LinuxKernel", "one writer"),
    ("netctl.engine", "import pyroute2", "one place speaks netlink"),
    ("netctl.kernel.linux", "def f():\n    import iptc", "crashes with threads"),
    ("netctl.kernel.rules.extra", "import flask, portal.config", "knows nothing of people"),
    ("portal.domain.policy", "from sqlite3 import connect", "decisions are pure"),
    ("portal.domain.policy", "from netctl.api.client import Client", "decisions are pure"),
    ("portal.guest.views", "from ..staff import pages", "two audiences"),
    ("portal.staff.views", "from portal import guest", "two audiences"),
    ("portal.vouchers.sheet", "from portal.store import vouchers", "what is printed is handed in"),
    ("portal.reports.xlsx", "from portal.store import rollups", "rounded once"),
    ("portal.cli_vouchers", "def f():\n    import fpdf", "only who makes a PDF pays"),
    ("portal.staff.review.month", "from pygal import Bar", "its own style"),
    ("portal.staff.vouchers", "from portal.store import audit", "one transaction"),
    ("portal.cli", "__import__(name)", "computes a module's name"),
]


@pytest.mark.parametrize(("module", "source", "reason"), PLANTED)
def test_planted_violation_is_found_with_its_reason(module: str, source: str, reason: str) -> None:
    found = violations(source, module, RULES)
    assert any(reason in sentence for sentence in found), found
    assert all(sentence.startswith(module + ":") for sentence in found)


def test_what_the_table_allows_passes() -> None:
    allowed = """
        from netctl.api.types import Grant
        from netctl.api import client
        from .api import errors
    """
    assert violations(textwrap.dedent(allowed), "portal.sync", RULES) == []
    assert violations("from netctl.kernel import base", "netctl.plan", RULES) == []
    assert violations("import pyroute2", "netctl.kernel.sets", RULES) == []
    assert violations("from . import store", "portal", RULES, is_package=True) == []
    assert violations("from . import kernel", "netctl", RULES, is_package=True) != []


def test_every_row_has_a_planted_violation() -> None:
    unproved = [rule for rule in RULES if not any(reason in rule.reason for *_, reason in PLANTED)]
    assert unproved == []
