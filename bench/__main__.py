"""``python -m bench``: runs the measures that are asked for and prints what they found. It knows only their names."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from bench import (
    card,
    failures,
    follow,
    forwarding,
    guest_pages,
    natlog,
    outbox,
    overshoot,
    plan_change,
    portal,
    reports,
    review_pages,
    rollups,
    shaping,
    staff_pages,
    vouchers,
)
from bench.result import Result, markdown, table

GROUPS: dict[str, Callable[[], Iterator[Result]]] = {
    "single": portal.single,
    "storm_200": partial(portal.storm, 200),
    "storm_500": partial(portal.storm, 500),
    "guest_pages": guest_pages.guest_pages,
    "staff_pages": staff_pages.staff_pages,
    "review_pages": review_pages.review_pages,
    "plan_change": plan_change.plan_change,
    "budget_overshoot": overshoot.budget_overshoot,
    "goodput": shaping.goodput,
    "latency": shaping.latency,
    "fairness": shaping.fairness,
    "cpu_per_packet": forwarding.cpu_per_packet,
    "kill9": failures.kill9,
    "restore": failures.restore,
    "voucher_batch": vouchers.voucher_batch,
    "card_writes": card.card_writes,
    "nat_log": natlog.nat_log,
    "changing_line": follow.changing_line,
    "rollup_": rollups.rollups_of_a_year,
    "report_year": reports.report_year,
    "outbox_": outbox.outbox_of_90_days,
}
# Measures that do not begin with their group's name.
ALIASES = {
    "page": "single",
    "login": "single",
    "cpu_per_login": "single",
    "memory": "storm_500",
    "guest_wrong_password": "guest_pages",
    "month_view": "review_pages",
    "year_database": "rollup_",
    "journal_verify": "rollup_",
    "card": "card_writes",
}


def group_of(name: str) -> str:
    """The group that yields the measure ``name`` (a group's own name, a measure's, or its beginning)."""
    for beginning, group in [*((group, group) for group in GROUPS), *ALIASES.items()]:
        if name.startswith(beginning):
            return group
    for group in GROUPS:
        if group.startswith(name):
            return group
    known = ", ".join([*GROUPS, *ALIASES])
    raise click.UsageError(f"there is no measure {name!r}; known are {known}")


def machine() -> str:
    """One line that names what the figures are of."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else "unknown processor"
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown system")
    return (
        f"{model}, {os.cpu_count()} cores, {gib:.0f} GiB, {platform.machine()}; Linux {platform.release()}, {system}, "
        f"Python {platform.python_version()}"
    )


BEGIN, END = "<!-- bench -->\n", "<!-- end of bench -->\n"


def _renew(document: Path, results: list[Result]) -> None:
    """Put the table between the two comments of the document."""
    head, begun, rest = document.read_text().partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not (begun and ended):
        raise click.UsageError(f"{document} lacks the lines {BEGIN.strip()} and {END.strip()}")
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    document.write_text(f"{head}{BEGIN}{when}. {machine()}.\n\n{markdown(results)}\n{END}{tail}")


@click.command()
@click.option("--only", metavar="NAME,...", help=f"Only these: {', '.join([*GROUPS, *ALIASES])}.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write one object a measure."
)
@click.option(
    "--markdown",
    "document",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Renew this file's table.",
)
def main(only: str | None, json_file: Path | None, document: Path | None) -> None:
    """Measure the gateway in the virtual village. Figures are of this machine and this moment; nothing fails by them.

    The exit code is 1 only where a measure could not be taken.
    """
    if only and document is not None:
        raise click.UsageError("--markdown renews the whole table, so it does not go with --only")
    wanted = list(dict.fromkeys(group_of(name) for name in only.split(","))) if only else list(GROUPS)
    click.echo(machine(), err=True)
    results: list[Result] = []
    broken = []
    for group in wanted:
        start = time.monotonic()
        click.echo(f"{group} ...", err=True)
        try:
            for result in GROUPS[group]():
                results.append(result)
                click.echo(table([result]).splitlines()[1], err=True)
        except Exception as error:
            if os.environ.get("BENCH_TRACEBACK"):
                raise
            broken.append(group)
            click.echo(f"{group} could not be measured: {type(error).__name__}: {error}", err=True)
        click.echo(f"{group} took {time.monotonic() - start:.0f} s", err=True)
    click.echo(table(results))
    if json_file is not None:
        json_file.write_text(json.dumps([result.as_json() for result in results], indent=1) + "\n")
    if document is not None:
        _renew(document, results)
    if broken:
        click.echo(f"not measured: {', '.join(broken)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
