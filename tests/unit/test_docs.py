"""What the documents promise is there: commands, keys, codes, links. It must not know how any of it works."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PRODUCT = [path for package in ("netctl", "portal") for path in sorted((ROOT / package).rglob("*.py"))]


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


# --- commands -------------------------------------------------------------------------------------------------------

VERBS = set(re.findall(r"^verb_([a-z]+)\(\)", text_of("build.sh"), re.MULTILINE))


def test_build_sh_has_the_verbs_that_it_explains() -> None:
    explained = re.findall(r"^  ([a-z]+) ", text_of("build.sh").partition("usage: ./build.sh")[2], re.MULTILINE)
    dispatched = re.search(r"^([a-z |]+)\)\n    shift", text_of("build.sh"), re.MULTILINE)
    assert dispatched is not None
    assert set(explained) == set(dispatched[1].split(" | ")) == VERBS


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_build_sh_command_exists(path: Path) -> None:
    named = set(re.findall(r"\./build\.sh ([a-z]+)", path.read_text()))
    assert named <= VERBS, f"{path.name} names verbs that build.sh lacks: {named - VERBS}"


def test_readme_shows_the_two_commands_first() -> None:
    commands = re.findall(r"\./build\.sh [a-z]+", text_of("README.md"))
    assert commands[:2] == ["./build.sh demo", "./build.sh test"]
    assert text_of("README.md").index("./build.sh demo") < 1000


PROGRAMS = {"gerbang": ("portal.cli", "gerbang"), "netctl": ("netctl.__main__", None)}


def group_of(program: str) -> click.Group:
    """The click group of a console script, whatever it is called in its module."""
    module_name, name = PROGRAMS[program]
    module = importlib.import_module(module_name)
    found = [
        value
        for key, value in vars(module).items()
        if isinstance(value, click.Group) and (name is None or key == name) and value.commands
    ]
    assert len(found) == 1, f"{module_name} should hold one click group, not {found}"
    return found[0]


def commands() -> Iterator[tuple[str, str]]:
    for program in PROGRAMS:
        for name in group_of(program).commands:
            yield program, name


@pytest.mark.parametrize("program", PROGRAMS)
def test_cli_md_holds_every_command_with_its_help(program: str) -> None:
    written = " ".join(text_of("docs/cli.md").split())
    missing = []
    for name, command in group_of(program).commands.items():
        if f"{program} {name}" not in written:
            missing.append(f"{program} {name}")
        first_sentence = " ".join((command.help or "").split("\n\n")[0].split()).replace("\b", "").strip()
        assert first_sentence, f"{program} {name} has no help"
        if first_sentence not in written.replace("`", "") and first_sentence not in written:
            missing.append(f"{program} {name}: {first_sentence}")
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                flag = max(parameter.opts, key=len)
                if flag not in written:
                    missing.append(f"{program} {name} {flag}")
    assert not missing, f"docs/cli.md lacks: {missing}"


def test_commands_named_in_docs_and_hints_exist() -> None:
    known = set(commands())
    named: dict[tuple[str, str], str] = {}
    for path in [*DOCS, *PRODUCT]:
        text = path.read_text()
        for program, verb in re.findall(r"`(gerbang|netctl) ([a-z]+(?:-[a-z]+)*)\b", text):
            named.setdefault((program, verb), path.name)
    unknown = {f"{program} {verb}": where for (program, verb), where in named.items() if (program, verb) not in known}
    assert not unknown, f"commands that do not exist are recommended: {unknown}"


# --- site.toml ------------------------------------------------------------------------------------------------------


def keys_of_site_toml() -> Iterator[tuple[str, str, Any]]:
    """(table, key, default as TOML writes it; None where there is none)."""
    config = importlib.import_module("portal.config")
    for table in msgspec.structs.fields(config.SiteConfig):
        struct = getattr(config, table.name.capitalize())
        for field in msgspec.structs.fields(struct):
            default = field.default
            if default is msgspec.NODEFAULT or default in (None, ()):
                yield table.name, field.name, None
            else:
                yield table.name, field.name, json.dumps(default, ensure_ascii=False)


def test_site_toml_md_lists_every_key_with_its_default() -> None:
    sections: dict[str, list[str]] = {}
    name = ""
    for line in text_of("docs/site-toml.md").splitlines():
        if line.startswith("#") and (found := re.search(r"\[\[?(\w+)\]?\]", line)):
            name = found[1]
        sections.setdefault(name, []).append(line)
    missing = []
    for table, key, default in keys_of_site_toml():
        rows = [line for line in sections.get(table, []) if f"`{key}`" in line]
        if not rows or (default is not None and not any(default in row for row in rows)):
            missing.append(f"[{table}] {key}" + ("" if default is None else f" = {default}"))
    assert not missing, f"docs/site-toml.md lacks: {missing}"


# --- error codes ----------------------------------------------------------------------------------------------------

CODE = re.compile(r"[a-z]+(-[a-z]+)*")
CODED_ERRORS = {"NetctlError", "GateError", "StoreError", "Failure"}


def codes_in(source: str) -> Iterator[str]:
    """Codes that a module defines or raises: first argument or ``code=`` of an error."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in CODED_ERRORS:
            given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
            for value in given:
                for part in ast.walk(value):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def all_codes() -> set[str]:
    errors = importlib.import_module("netctl.api.errors")
    pages = importlib.import_module("portal.guest.pages")
    db = importlib.import_module("portal.store.db")
    found = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, str)}
    found |= set(pages.PROBLEMS) | set(db._HINTS)
    for path in PRODUCT:
        found |= set(codes_in(path.read_text()))
    return {code for code in found if CODE.fullmatch(code)}


def table_codes() -> list[str]:
    section = text_of("docs/operations.md").partition("## Errors")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)


def test_every_error_code_stands_in_operations_md_once() -> None:
    written, codes = table_codes(), all_codes()
    assert len(written) == len(set(written)), "a code stands twice in docs/operations.md"
    assert codes - set(written) == set(), "docs/operations.md lacks these codes"
    assert set(written) - codes == set(), "docs/operations.md has codes that nothing says"


def test_a_code_that_is_not_written_would_be_found() -> None:
    planted = "def f():\n    raise GateError('flooded' if wet else \"dry-rot\", 'The cellar.', '')"
    assert set(codes_in(planted)) == {"flooded", "dry-rot"}


# --- the tree -------------------------------------------------------------------------------------------------------


def test_changelog_keeps_its_form() -> None:
    """keepachangelog.com 1.1.0: versions newest first, Unreleased on top, known kinds of change only."""
    text = text_of("CHANGELOG.md")
    assert text.startswith("# Changelog\n")
    versions = re.findall(r"^## \[(.+?)\](.*)$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert all(re.fullmatch(r" - \d{4}-\d{2}-\d{2}", rest) for _, rest in versions[1:])
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert kinds


LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    dead = []
    for target in LINK.findall(path.read_text()):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text())):
            dead.append(target)
    assert not dead, f"{path.name} links to what is not there: {dead}"


# Written in two halves, so that this file is not its own first find.
FORBIDDEN = {
    "a package host": [
        a + b
        for a, b in [
            ("pypi", ".org"),
            ("pythonhosted", ".org"),
            ("deb.debian", ".org"),
            ("npmjs", ".org"),
            ("crates", ".io"),
        ]
    ],
    "a directory of one machine": [a + b for a, b in [("/ro", "ot/"), ("/ho", "me/"), ("/wo", "rk/"), ("/Us", "ers/")]],
}
GENERATED = {
    ".git",
    ".venv",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "build",
    "dist",
}


def forbidden_in(text: str) -> list[str]:
    found = []
    for what, needles in FORBIDDEN.items():
        for needle in needles:
            start = r"(?<![\w.])" if needle.startswith("/") else ""
            if re.search(start + re.escape(needle), text):
                found.append(f"{what}: {needle}")
    return found


def files_of_the_tree() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if GENERATED.isdisjoint(parts) and not any(part.endswith(".egg-info") for part in parts) and path.is_file():
            yield path


def test_no_machine_paths_and_no_package_hosts_in_the_tree() -> None:
    found = {}
    for path in files_of_the_tree():
        try:
            said = forbidden_in(path.read_text("utf-8"))
        except UnicodeDecodeError:
            continue
        if said:
            found[str(path.relative_to(ROOT))] = said
    assert not found


def test_a_planted_string_would_be_found() -> None:
    assert forbidden_in("see https://pypi" + ".org/simple") and forbidden_in("cd /wo" + "rk/main")
    assert not forbidden_in("frame/work/er") and not forbidden_in("/run/gerbang")
