"""Asks axe-core what on a page keeps people from using it (WCAG 2.2, A and AA). It knows no page.

`./build.sh setup` puts axe-core below .venv; it is never served to anybody.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver

SOURCE = Path(__file__).parents[2] / ".venv/axe/node_modules/axe-core/axe.min.js"
SERIOUS = {"serious", "critical"}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

needs_axe = pytest.mark.skipif(not SOURCE.exists(), reason="needs axe-core: ./build.sh setup installs it")


def serious_findings(driver: webdriver.Chrome) -> list[str]:
    """One line for each serious finding on the page that the browser shows, with where it is. The browser must run
    scripts. Nothing of axe-core stays on the page after the next load."""
    driver.execute_script(SOURCE.read_text(encoding="utf-8"))
    answer = driver.execute_async_script(
        "const done = arguments[1];"
        "axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}}).then(done, error => done(String(error)));",
        TAGS,
    )
    assert isinstance(answer, dict), answer
    assert len(answer["passes"]) > 5, "axe-core looked at next to nothing"
    return [
        f"{finding['id']} ({finding['impact']}): {finding['help']}: {node['target']}: {node['html'][:160]}"
        for finding in answer["violations"]
        if finding["impact"] in SERIOUS
        for node in finding["nodes"]
    ]
