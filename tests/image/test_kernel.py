"""netctl against the kernel of the image: the contract suite itself, in the box, beside the gateway that runs there.

The machine that builds may lack what a box has (fq_codel, sets of addresses with MACs), and then no test there sees how
the kernel takes them. Only what is needed to run the suite is brought into the box, and into its memory alone.
"""

from __future__ import annotations

import base64
import importlib
import io
import re
import tarfile
from pathlib import Path

from tests.image.place import Place

ROOT = Path(__file__).parents[2]
SUITE = "tests/contract/test_kernel.py"
BROUGHT = (SUITE, "tests/kernel/scene.py", "tests/village/links.py", "tests/village/netns.py")
PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging")
# Whatever has to do with classes and their queues; the rest does not depend on what this machine may lack.
CHOSEN = "linux and (class or burst or directions or shaped or setup or rules or features or renewing)"
AT = "/run/contract"


def brought() -> str:
    """The suite and pytest, as tar in base64."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in BROUGHT:
            tar.add(ROOT / name, name)
        for name in PYTEST:
            package = Path(str(importlib.import_module(name).__file__)).parent
            tar.add(package, name, filter=lambda info: None if "__pycache__" in info.name else info)
    return base64.b64encode(file.getvalue()).decode()


def test_the_kernel_of_the_image_keeps_the_contract(place: Place) -> None:
    box = place.machine
    box.run(f"mkdir -p {AT} && base64 -d | tar xz -C {AT}", stdin=brought(), timeout_s=120)
    pytest = "/usr/lib/gerbang/bin/python -P -m pytest -q --noconftest -p no:cacheprovider -rs"
    done = box.try_run(f"cd {AT} && PYTHONPATH={AT} {pytest} -k '{CHOSEN}' {SUITE} 2>&1; rm -r {AT}", timeout_s=900)
    assert re.search(r"^\d+ passed, \d+ deselected in", done.stdout, re.MULTILINE), done.stdout
    assert "skipped" not in done.stdout, "this kernel has everything"
