"""A headless Chromium for tests, driven over DevTools' pipe: two file descriptors, and no library, port or driver.

`--remote-debugging-pipe` reads commands from descriptor 3 and writes answers to 4, as JSON ended by a NUL.
"""

from __future__ import annotations

import base64
import json
import os
import select
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from debian_data import chromium_command

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-quic",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE = 60.0


class Browser:
    """A running Chromium with one page; `with Browser() as page: page.open(path)`."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="featlab-chromium-", ignore_cleanup_errors=True)
        self.downloads = Path(self._profile.name, "downloads")
        self.downloads.mkdir()
        found = chromium_command()
        assert found, "no Chromium here"
        command, variables = found
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, end) for end in (0, 1, 2)]
        # Out of the way first: an end of a pipe may be descriptor 3 or 4 itself.
        high_read, high_write = (os.dup2(end, 100 + number) for number, end in enumerate((to_read, to_write)))
        actions += [(os.POSIX_SPAWN_DUP2, high_read, 3), (os.POSIX_SPAWN_DUP2, high_write, 4)]
        flags = [*_FLAGS, f"--user-data-dir={self._profile.name}/profile", "about:blank"]
        self._process = os.posix_spawn(
            command, [command, *flags], {**os.environ, **variables}, file_actions=actions, setpgroup=0
        )
        for end in (to_read, to_write, high_read, high_write, null):
            os.close(end)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = next(each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads), at_browser=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        try:
            self.call("Browser.close", at_browser=True)
        except (OSError, TimeoutError):
            os.kill(self._process, 9)
        os.close(self._write)
        os.close(self._read)
        os.waitpid(self._process, 0)
        self._profile.cleanup()

    def call(self, method: str, *, at_browser: bool = False, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session and not at_browser:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise OSError("Chromium has ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window, and whether the reader likes it dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, address: str) -> None:
        """Open a page anew and wait until it is loaded; what was logged before is forgotten."""
        self.call("Page.navigate", url="about:blank")
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.until(lambda: any(event.get("method") == "Page.loadEventFired" for event in self.events), "the page loads")

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page, a promise to its end, and return its value."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def until(self, holds: Callable[[], Any] | str, what: str = "") -> Any:
        """Wait until something holds, a function here or an expression in the page, and return its value."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            found = (
                self.run(holds)
                if isinstance(holds, str)
                else (self.call("Runtime.evaluate", expression="0"), holds())[1]
            )
            if found:
                return found
            time.sleep(0.02)
        raise TimeoutError(f"not within {_PATIENCE:.0f} s: {what or holds}")

    def key(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path | str, *, whole: bool = False) -> None:
        """Write a screenshot, of the window or of the whole page."""
        answer = self.call(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=whole,
            **({"clip": self._whole()} if whole else {}),
        )
        Path(path).write_bytes(base64.b64decode(answer["data"]))

    def _whole(self) -> dict[str, float]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def pdf(self) -> bytes:
        """Print the page."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])

    def faults(self) -> list[str]:
        """Errors that the page logged or threw since it was opened."""
        found = []
        for event in self.events:
            said = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(said["exceptionDetails"])[:500])
            if event.get("method") == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(said["args"])[:500])
            if event.get("method") == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
                found.append(said["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Addresses that the page asked for since it was opened, but for itself and what it carries."""
        asked = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith(("data:", "blob:"))]
