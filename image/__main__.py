"""Command line of the image builder: one verb for each kind of box, and one that renews the Python lock.

It must not know how an image is built. Exit codes are those of sysexits(3).
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import click

from image import wheels
from image.build import REPOSITORY, Options, build
from image.errors import BuildError
from image.targets import TARGETS


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gerbang-image"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Build a flashable image of a gateway."""


def image_verb(name: str) -> None:
    a_directory = click.Path(file_okay=False, path_type=Path)

    @cli.command(name, help=f"Build gerbang-VERSION-{name}.img, and what belongs to it.")
    @click.option("--output", type=a_directory, default=REPOSITORY / "dist", help="Where to; default: dist.")
    @click.option("--cache", type=a_directory, default=default_cache, help="What is kept between builds.")
    @click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="A variable of the layers.")
    @click.option("--fresh", is_flag=True, help="Fetch Debian's packages anew.")
    def verb(output: Path, cache: Path, assignments: tuple[str, ...], fresh: bool) -> None:
        variables = dict(_pair(text) for text in assignments)
        build(TARGETS[name], Options(output.absolute(), cache.absolute(), variables, fresh))


for _name in TARGETS:
    image_verb(_name)


@cli.command()
def lock() -> None:
    """Resolve pyproject.toml anew into image/requirements.lock, with hashes."""
    with tempfile.TemporaryDirectory(prefix="gerbang-lock-") as work:
        wheels.renew(Path(sys.executable), REPOSITORY, Path(work))


def _pair(text: str) -> tuple[str, str]:
    name, is_, value = text.partition("=")
    if not is_:
        raise BuildError(os.EX_USAGE, f"--set {text} names no value.", "Write --set NAME=VALUE.")
    return name, value


def main() -> None:
    """Run a verb; every failure is one sentence and a code of sysexits(3)."""
    # An end by SIGTERM takes back what was registered with the kernel, too (image.binfmt).
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    try:
        cli.main(prog_name="./build.sh image", standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(os.EX_USAGE)
    except BuildError as error:
        click.echo(f"image: {error}", err=True)
        sys.exit(error.status)
    except OSError as error:
        click.echo(f"image: {error}", err=True)
        sys.exit(os.EX_OSERR)


if __name__ == "__main__":
    main()
