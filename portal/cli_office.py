"""Commands of the desa's office: vouchers, accounts, sessions, devices, plans, hours, notices. It must not know how.

Every act goes through portal.administration, in the role "cli" and the name of who is logged in.
"""

from __future__ import annotations

import click

COMMANDS: tuple[click.Command, ...] = ()
