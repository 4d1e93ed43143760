"""netctl against the kernel of the image: the contract suite itself, in the box, beside the gateway that runs there.

The machine that builds may lack what a box has (fq_codel, sets of addresses with MACs), and then no test there sees how
the kernel takes them. Only what is needed to run the suite is brought into the box, and into its memory alone.
"""

from __future__ import annotations

import base64
import io
import re
import tarfile
from importlib import metadata
from pathlib import Path

from tests.image.place import Place

ROOT = Path(__file__).parents[2]
SUITE = "tests/contract/test_kernel.py"
BROUGHT = (SUITE, "tests/kernel/scene.py", "tests/village/links.py", "tests/village/netns.py")
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
# What depends on what a machine may lack, and what is asked for twice: the whole suite takes an emulated box too long.
CHOSEN = "linux and (again or shaped or rules_alone or features or renewing or intact)"
AT = "/run/contract"


def brought() -> str:
    """The suite and pytest, as tar in base64."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name in BROUGHT:
            tar.add(ROOT / name, name)
        for path in (path for name in PYTEST for path in metadata.files(name) or ()):
            if path.suffix == ".py":
                tar.add(path.locate(), str(path))
    return base64.b64encode(file.getvalue()).decode()


def test_the_kernel_of_the_image_keeps_the_contract(place: Place) -> None:
    box = place.machine
    box.run(f"mkdir -p {AT} && base64 -d | tar xz -C {AT}", stdin=brought(), timeout_s=120)
    pytest = "/usr/lib/gerbang/bin/python -P -m pytest -q --noconftest -p no:cacheprovider -rs"
    done = box.try_run(f"cd {AT} && PYTHONPATH={AT} {pytest} -k '{CHOSEN}' {SUITE} 2>&1; rm -r {AT}", timeout_s=900)
    assert re.search(r"^\d+ passed, \d+ deselected in", done.stdout, re.MULTILINE), done.stdout
    assert "skipped" not in done.stdout, "this kernel has everything"
