"""Puts the product's Python into a tree: a virtual environment of locked packages, and its own wheel.

It must not know what the product is. What is compiled is compiled in a workshop, a tree of its own with a compiler,
so that neither a compiler nor pip gets into an image.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from image.commands import inside, output, run
from image.errors import BuildError
from image.rootfs import Wanted
from image.targets import Target

HERE: Final = Path(__file__).parent
LOCK: Final = HERE / "requirements.lock"  # what runs
BUILD_LOCK: Final = HERE / "build.lock"  # what builds wheels
PYTHON: Final = "3.13"  # trixie's
ENVIRONMENT: Final = "usr/lib/gerbang"
NEWEST_GLIBC: Final = 41  # trixie's 2.41
WORKSHOP: Final = ("gcc", "libc6-dev", "python3-dev", "python3-venv")
# One renewal of the lock is as good as another: what resolves is not in an image.
UV: Final = "uv>=0.5"
_PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--no-cache-dir")
_OFFLINE: Final = ("--no-index", "--find-links", "/wheels", "--no-deps", "--no-compile", "--no-build-isolation")


def workshop(target: Target) -> Wanted:
    return Wanted("workshop", target.architecture, WORKSHOP, "minbase")


def download(python: Path, target: Target, wheels: Path) -> None:
    """Fetch what the locks name for the target, each checked against its hash."""
    wheels.mkdir(parents=True, exist_ok=True)
    backend = wheels / "backend"
    if backend.exists():
        shutil.rmtree(backend)
    pip = (python, *_PIP)
    # Builds wheels here, the product's own; and tells pip below what the one source package is called.
    run(*pip, "install", "--quiet", "--require-hashes", "--no-deps", "--target", backend, "-r", BUILD_LOCK)
    fetch = (*pip, "download", "--quiet", "--require-hashes", "--no-deps", "--dest", wheels)
    run(*fetch, "-r", BUILD_LOCK)
    platforms = [f"manylinux_2_{minor}_{target.machine}" for minor in range(NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux2014_{target.machine}"]
    run(
        *fetch,
        "--no-build-isolation",
        f"--python-version={PYTHON}",
        "--implementation=cp",
        *(f"--abi={abi}" for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none")),
        *(f"--platform={platform}" for platform in platforms),
        "-r",
        LOCK,
        env={"PYTHONPATH": str(backend)},
    )


def own_wheel(python: Path, repository: Path, work: Path, wheels: Path, epoch: int) -> None:
    """Build the product's wheel from the files that git knows or would take: nothing that lies about gets in."""
    source = work / "source"
    if source.exists():
        shutil.rmtree(source)
    listed = output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=repository)
    for name in filter(None, listed.split("\0")):
        if name.split("/")[0] in ("netctl", "portal", "pyproject.toml", "README.md") and (repository / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, source / name)
    for old in wheels.glob("gerbang-*.whl"):
        old.unlink()
    run(
        python,
        *_PIP,
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        f"--wheel-dir={wheels}",
        source,
        env={"PYTHONPATH": str(wheels / "backend"), "SOURCE_DATE_EPOCH": str(epoch)},
    )


def install(shop: Path, tree: Path, wheels: Path, epoch: int) -> None:
    """Make the environment in the workshop ``shop``, and move it to the same place in ``tree``."""
    for path in sorted(wheels.glob("*")):
        if path.is_file():
            (shop / "wheels").mkdir(exist_ok=True)
            shutil.copy(path, shop / "wheels" / path.name)
    for lock in (LOCK, BUILD_LOCK):
        shutil.copy(lock, shop / "wheels" / lock.name)
    environment = f"/{ENVIRONMENT}"
    pip = (f"{environment}/bin/python", *_PIP)
    # No debug information: it would hold the name of a directory that is another one each time.
    env = {"SOURCE_DATE_EPOCH": str(epoch), "CFLAGS": "-g0"}
    inside(shop, "/usr/bin/python3", "-m", "venv", environment)
    install = (*pip, "install", "--quiet", *_OFFLINE)
    inside(shop, *install, "--require-hashes", "-r", f"/wheels/{BUILD_LOCK.name}", env=env)
    inside(shop, *install, "--require-hashes", "-r", f"/wheels/{LOCK.name}", env=env)
    inside(shop, *install, "gerbang", env=env)
    # setuptools and wheel have built; sqlite-utils asks for pip, but only its own command line uses it.
    inside(shop, *pip, "uninstall", "--quiet", "--yes", "setuptools", "wheel", "pip")
    destination = tree / ENVIRONMENT
    shutil.copytree(shop / ENVIRONMENT, destination, symlinks=True)
    if not (destination / "bin/gerbang").exists():
        raise BuildError(os.EX_SOFTWARE, "The product's wheel has installed no `gerbang`.", "See pyproject.toml.")


def compile_all(tree: Path) -> None:
    """Bytecode that is never compared with its source's time: a squashfs here has one time for all files.

    The compiler's own imports must write none: theirs would bear times, be taken for done, and be made again at each
    boot.
    """
    for cache in sorted(tree.glob("usr/lib/**/__pycache__")):
        shutil.rmtree(cache)
    command = ("-B", "-m", "compileall", "-f", "-q", "--invalidation-mode", "unchecked-hash")
    debian = ("/usr/lib/python3", f"/usr/lib/python{PYTHON}")
    quiet = {"PYTHONWARNINGS": "ignore::SyntaxWarning"}  # python-iptables' backslashes
    inside(tree, "/usr/bin/python3", *command, "-x", "/test/", *debian, env=quiet)
    inside(tree, f"/{ENVIRONMENT}/bin/python", *command, f"/{ENVIRONMENT}/lib", env=quiet)


def renew(python: Path, repository: Path, work: Path) -> None:
    """Resolve pyproject.toml anew for the image's Python, and write both locks."""
    tools = work / "uv"
    run(python, *_PIP, "install", "--quiet", "--upgrade", "--target", tools, UV)
    build = "\n".join(["setuptools>=77", "wheel"])
    uv = (tools / "bin/uv", "pip", "compile", "--quiet", "--no-config", "--upgrade", f"--python-version={PYTHON}")
    form = ("--generate-hashes", "--no-header", "--no-annotate")
    for target in ("x86_64", "aarch64"):
        platform = f"--python-platform={target}-manylinux_2_40"
        for lock, source, text in ((LOCK, repository / "pyproject.toml", ""), (BUILD_LOCK, "-", build)):
            made = output(*uv, *form, platform, source, text=text)
            head = f"# Written by `./build.sh image lock` for Python {PYTHON}, amd64 and arm64 alike; not by hand.\n"
            if target == "aarch64" and lock.read_text(encoding="utf-8") != head + made:
                raise BuildError(
                    os.EX_SOFTWARE,
                    f"{lock.name} would differ between amd64 and arm64.",
                    "A dependency is for one of them alone: the builder must learn to keep two locks.",
                )
            lock.write_text(head + made, encoding="utf-8")
