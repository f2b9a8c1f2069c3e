"""A page as a headless Chromium shows it: what reaches beyond the screen, and pictures. `python tests/browser.py PAGE FOLDER` is `make look`.

Playwright leads the Chromium of the system; no other is downloaded.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is a package of the system, and this one has none")
WIDTHS = (1280, 390)  # of a desk, of a phone
BEYOND = """[...document.body.querySelectorAll('*')].filter(e => {
  for (let p = e; p !== document.body; p = p.parentElement) {
    const hidden = getComputedStyle(p).overflowX !== 'visible' || (p.tagName === 'DETAILS' && !p.open && e !== p)
    if (hidden && p !== e) return false
  }
  const box = e.getBoundingClientRect()
  return box.width > 0 && (box.right > document.documentElement.clientWidth + 1 || box.left < -1) || e.clientWidth && e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).overflowX === 'hidden'
}).map(e => `${e.tagName.toLowerCase()}.${e.getAttribute('class') || ''}: ${(e.textContent || '').trim().slice(0, 40)}`)"""


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium that ends with the block."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        yield chromium
        chromium.close()


@contextmanager
def shown(chromium: Browser, page: Path, width: int, dark: bool = False) -> Iterator[Page]:
    """A file on a screen of that width."""
    scheme = "dark" if dark else "light"
    with chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, is_mobile=width < 600) as screen:
        opened = screen.new_page()
        opened.goto(page.resolve().as_uri())
        yield opened


def beyond(page: Page) -> list[str]:
    """The elements that reach beyond the screen, or hide what they hold; not those that scroll by themselves."""
    return page.evaluate(BEYOND)


def look(page: Path, folder: Path) -> int:
    """Write a picture of the page for each width, light and dark; returns how many elements reach beyond a screen, which are printed."""
    found = 0
    with browser() as chromium:
        for width in WIDTHS:
            for dark in (False, True):
                path = folder / f"{width}{'-dark' if dark else ''}.png"
                with shown(chromium, page, width, dark) as opened:
                    opened.screenshot(path=path, full_page=True)
                    print(path)
                    for element in () if dark else beyond(opened):
                        print(f"  beyond the screen at {width} pixels: {element}")
                        found += 1
    return found


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("error: no Chromium: install the system's package `chromium`")
    sys.exit(look(Path(sys.argv[1]), Path(sys.argv[2])) > 0)
