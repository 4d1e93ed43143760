"""Gives accounts the numbers that a layer names. It must not know what they are for.

Files on a box's data partition carry numbers, and the next version of the image must read them as the same accounts.
Debian's packages and sysusers number what they make by what is free at the time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from image.errors import BuildError


@dataclass(frozen=True, slots=True)
class Renumbered:
    """/etc/passwd and /etc/group as they shall be; and which number became which."""

    passwd: str
    group: str
    users: Mapping[int, int]
    groups: Mapping[int, int]


def renumber(passwd: str, group: str, ids: Mapping[str, int]) -> Renumbered:
    """``ids``: the number of each account, and of the group of the same name, if there is one."""
    accounts = [line.split(":") for line in passwd.splitlines()]
    named = [line.split(":") for line in group.splitlines()]
    unknown = sorted(set(ids) - {fields[0] for fields in accounts})
    if unknown:
        raise BuildError(os.EX_CONFIG, f"A layer numbers the account {unknown[0]}, which the tree does not have.")
    users = {int(fields[2]): ids[fields[0]] for fields in accounts if fields[0] in ids}
    groups = {int(fields[2]): ids[fields[0]] for fields in named if fields[0] in ids}
    for kind, table, changed in (("account", accounts, users), ("group", named, groups)):
        for fields in table:
            if fields[0] not in ids and int(fields[2]) in changed.values():
                raise BuildError(os.EX_CONFIG, f"The number {fields[2]} is taken by the {kind} {fields[0]}.")
    for fields in accounts:
        fields[2], fields[3] = str(users.get(int(fields[2]), fields[2])), str(groups.get(int(fields[3]), fields[3]))
    for fields in named:
        fields[2] = str(groups.get(int(fields[2]), fields[2]))
    return Renumbered(_text(accounts), _text(named), users, groups)


def _text(lines: list[list[str]]) -> str:
    return "".join(":".join(fields) + "\n" for fields in lines)


def pin(tree: Path, ids: Mapping[str, int]) -> None:
    """Renumber, and what belongs to them in the tree with it."""
    passwd, group = tree / "etc/passwd", tree / "etc/group"
    new = renumber(passwd.read_text(encoding="utf-8"), group.read_text(encoding="utf-8"), ids)
    passwd.write_text(new.passwd, encoding="utf-8")
    group.write_text(new.group, encoding="utf-8")
    for path in tree.rglob("*"):
        status = path.lstat()
        owner = new.users.get(status.st_uid, status.st_uid), new.groups.get(status.st_gid, status.st_gid)
        if owner != (status.st_uid, status.st_gid):
            os.chown(path, *owner, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(status.st_mode & 0o7777)  # which a change of owner may have cut
