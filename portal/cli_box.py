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


COMMANDS = (ports,)
