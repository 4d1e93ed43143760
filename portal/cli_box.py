"""Commands for flashed boxes: what is plugged in where, and cards for many desa. It must not know how a box starts."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from portal.cli_parts import FILE, fail, json_option, print_json

BOX_SITE = Path("/data/site/site.toml")


@click.command()
@click.option("--site", type=FILE, default=BOX_SITE, show_default=True, help="The site's configuration.")
@json_option
def ports(site: Path, as_json: bool) -> None:
    """List the network cards of this machine, and which of them is the uplink on a flashed box.

    Each with its MAC address and its path: one of the two is what uplink.port in site.toml takes.
    """
    from portal.box import devices  # noqa: PLC0415
    from portal.box.interfaces import decide  # noqa: PLC0415
    from portal.config import Uplink  # noqa: PLC0415
    from portal.site import SiteErrors, load  # noqa: PLC0415

    try:
        uplink = load(site).uplink if site.exists() else Uplink()
    except SiteErrors as errors:
        fail(os.EX_CONFIG, str(errors.mistakes[0]), f"`gerbang check {site}` says all mistakes.")
    cards = devices.present()
    roles = decide(cards, uplink)
    role_of = {port.name: f"lan{number}" for number, port in enumerate(roles.ports, 1)}
    if roles.uplink_now is not None:
        role_of[roles.uplink_now.name] = "uplink"
    if roles.radio is not None:
        role_of[roles.radio.name] = "radio"
    if as_json:
        print_json([asdict(card) | {"role": role_of.get(card.name, "")} for card in cards])
    else:
        for card in cards:
            role = role_of.get(card.name, "-")
            click.echo(f"{role:<7} {card.name:<10} {card.mac}  {card.path or '-'}  ({card.driver or '?'})")
    sys.exit(os.EX_OK if cards else os.EX_UNAVAILABLE)


@click.command("flash-config")
@click.option("--csv", "table", type=FILE, required=True, help="The table: a line for each desa, keys in the first.")
@click.option("--out", type=FILE, required=True, help="A new or empty directory; each desa gets a folder in it.")
@click.option("--template", type=FILE, help="A site.toml for all of them: what the table does not say.")
@json_option
def flash_config(table: Path, out: Path, template: Path | None, as_json: bool) -> None:
    """Make a site.toml for each desa of a table, to be copied onto their cards.

    Columns are keys of site.toml (site.code, uplink.down_kbit) or what people call them (kode, desa, unduh, unggah,
    penyedia, vlan, alamat, gateway, dns, pengguna, sandi, ssid, kanal). Excel's CSV does, with commas or semicolons.
    With any mistake nothing is written, and all of them are said.
    """
    from portal.box import flashconfig  # noqa: PLC0415

    try:
        rows, base = table.read_bytes(), template.read_text(encoding="utf-8-sig") if template else ""
    except (OSError, UnicodeDecodeError) as error:
        fail(os.EX_NOINPUT, f"{error}.", "Check the path, and that the template is UTF-8 text.")
    made, wrong = flashconfig.make(rows, base)
    if wrong:
        if as_json:
            print_json({"mistakes": [asdict(one) for one in wrong]})
        else:
            for one in wrong:
                click.echo(f"{table}: {one}", err=True)
            click.echo(f"{len(wrong)} mistake{'s' * (len(wrong) != 1)}; nothing was written.", err=True)
        sys.exit(os.EX_CONFIG)
    try:
        flashconfig.write(made, out)
    except OSError as error:
        fail(os.EX_CANTCREAT, f"{out} cannot be made: {error.strerror or error}.", "Name an empty or a new directory.")
    if as_json:
        print_json({"out": str(out), "made": flashconfig.as_json(made)})
    else:
        click.echo(f"{len(made)} desa in {out}; {flashconfig.LIST} lists them.")


COMMANDS = (flash_config, ports)
