"""A headless Chromium, driven over its DevTools protocol: what a page does there, says there, and looks like."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

from tests.rules.checkers import checker
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--no-proxy-server", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
#: Seconds that an answer, or something on the page, may take.
_PATIENCE: Final = 20.0
_DESK: Final = (1280, 900)


class Browser:
    """One browser with a fresh profile; a context manager."""

    def __init__(self, directory: Path) -> None:
        """Keep profile and log in that folder."""
        self._profile = directory / "profile"
        self._log = directory / "chromium.log"
        self.loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        command = [checker("chromium"), *_FLAGS, f"--user-data-dir={self._profile}"]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(command, stdout=log, stderr=log)
        said = self._profile / "DevToolsActivePort"
        until(lambda: said.exists() and said.read_text().count("\n") == 1, _PATIENCE)
        self._address = f"http://127.0.0.1:{said.read_text().splitlines()[0]}"
        self.session = self.loop.run_until_complete(self._open())
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.run_until_complete(self.session.close())
        self.loop.close()
        self._child.terminate()
        self._child.wait()

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_PATIENCE))

    def tab(self) -> Tab:
        """Open an empty tab of its own window size, which notes all that goes wrong in it."""
        return Tab(self, self.loop.run_until_complete(self._target()))

    async def _target(self) -> aiohttp.ClientWebSocketResponse:
        async with self.session.put(f"{self._address}/json/new?about:blank") as answer:
            found = await answer.json(content_type=None)
        return await self.session.ws_connect(found["webSocketDebuggerUrl"], max_msg_size=0)


class Tab:
    """One tab; `problems` is what its console, its policy and its scripts complained of. A context manager."""

    def __init__(self, browser: Browser, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Listen from the beginning."""
        self._loop = browser.loop
        self._socket = socket
        self._sent = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility", "DOM"):
            self.ask(f"{domain}.enable")
        self.size(*_DESK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.ask("Page.close")
        self._loop.run_until_complete(self._socket.close())

    # ------------------------------------------------------------ the protocol

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return the answer to a method of the protocol."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(message), _PATIENCE))

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        await self._socket.send_json(message)
        while True:
            heard = json.loads(await self._socket.receive_str())
            if heard.get("id") == message["id"]:
                assert "error" not in heard, f"{message['method']}: {heard['error']}"
                result: dict[str, Any] = heard["result"]
                return result
            self.events.append(heard)

    def event(self, method: str) -> dict[str, Any]:
        """Return what the first event of that name says, which may be still to come."""
        until(lambda: self.ask("Runtime.getIsolateId") and self.named(method), _PATIENCE)
        return self.named(method)[0]

    def named(self, method: str) -> list[dict[str, Any]]:
        """Return what the events of that name have said so far."""
        return [event["params"] for event in self.events if event.get("method") == method]

    @property
    def problems(self) -> list[str]:
        """Return what went wrong, if anything."""
        self.ask("Runtime.getIsolateId")  # whatever happened before this was answered has been heard
        entries = [event["entry"]["text"] for event in self.named("Log.entryAdded")]
        thrown = [str(event["exceptionDetails"]) for event in self.named("Runtime.exceptionThrown")]
        return entries + thrown + [str(event["args"]) for event in self.named("Runtime.consoleAPICalled")]

    # ------------------------------------------------------------ the page

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=url)
        self.event("Page.loadEventFired")

    def run(self, script: str) -> Any:  # noqa: ANN401  whatever the script's value is
        """Return the value of a script, or of its promise."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until a script's value is true."""
        until(lambda: self.run(script), _PATIENCE)

    def press(self, key: str, code: int) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def tree(self) -> set[tuple[str, str]]:
        """Return role and name of all that a screen reader is told of."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        heard = [node for node in nodes if not node["ignored"]]
        return {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in heard}

    def size(self, width: int, height: int) -> None:
        """Give the page so many CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def prefer(self, **features: str) -> None:
        """Have the reader prefer something, such as color_scheme="dark"."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.ask("Emulation.setEmulatedMedia", features=wanted)

    def picture(self) -> bytes:
        """Return all of the page as PNG."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])
