"""A page as a headless Chromium shows it: what reaches beyond the screen, and pictures. `python tests/browser.py PAGE FOLDER` is `make look`.

Chromium is a system package and asked through its DevTools protocol, whose messages go through two pipes: each is JSON, then a zero.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
WIDTHS = (1280, 390)  # of a desk, of a phone
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
BEYOND = """[...document.body.querySelectorAll('*')].filter(e => {
  for (let p = e; p !== document.body; p = p.parentElement) {
    const hidden = getComputedStyle(p).overflowX !== 'visible' || (p.tagName === 'DETAILS' && !p.open && e !== p)
    if (hidden && p !== e) return false
  }
  const box = e.getBoundingClientRect()
  return box.width > 0 && (box.right > document.documentElement.clientWidth + 1 || box.left < -1) || e.clientWidth && e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).overflowX === 'hidden'
}).map(e => `${e.tagName.toLowerCase()}.${e.getAttribute('class') || ''}: ${(e.textContent || '').trim().slice(0, 40)}`)"""


class Browser:
    """One page of a Chromium that runs."""

    def __init__(self, asks: int, answers: int) -> None:
        """`asks` and `answers` are the ends of the pipes: to write to, and to read from."""
        self._asks, self._answers = asks, answers
        self._session: str | None = None
        self._n = 0
        self._read = b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result; events on the way are passed over."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": params} | ({"sessionId": self._session} if self._session else {})
        os.write(self._asks, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda message: message.get("id") == self._n)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, page: Path, width: int, dark: bool = False) -> None:
        """Show a file on a screen of that width, and wait until it is loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        if error := self.ask("Page.navigate", url=page.resolve().as_uri()).get("errorText"):
            raise FileNotFoundError(f"{page}: {error}")
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def beyond(self) -> list[str]:
        """The elements that reach beyond the screen, or hide what they hold; not those that scroll by themselves."""
        return self.value(BEYOND)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])

    def _until(self, wanted: Any) -> dict[str, Any]:
        while True:
            while b"\0" not in self._read:
                if not (more := os.read(self._answers, 1 << 20)):
                    raise RuntimeError("Chromium has ended")
                self._read += more
            line, _, self._read = self._read.partition(b"\0")
            if wanted(message := json.loads(line)):
                return message


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium that ends with the block, and leaves no file."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        (asked, asks), (answers, answered) = os.pipe(), os.pipe()
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{asked} 4>&{answered}', CHROMIUM, *FLAGS, f"--user-data-dir={folder}"]
        process = subprocess.Popen(command, pass_fds=(asked, answered), stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(asked)
        os.close(answered)
        try:
            yield Browser(asks, answers)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(asks)
            os.close(answers)


def look(page: Path, folder: Path) -> int:
    """Write a picture of the page for each width, light and dark; returns how many elements reach beyond a screen, which are printed."""
    folder.mkdir(parents=True, exist_ok=True)
    found = 0
    with browser() as chromium:
        for width in WIDTHS:
            for dark in (False, True):
                chromium.open(page, width, dark)
                path = folder / f"{width}{'-dark' if dark else ''}.png"
                path.write_bytes(chromium.picture())
                print(path)
                for element in () if dark else chromium.beyond():
                    print(f"  beyond the screen at {width} pixels: {element}")
                    found += 1
    return found


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("error: no Chromium: install the system's package `chromium`")
    sys.exit(look(Path(sys.argv[1]), Path(sys.argv[2])) > 0)
