"""What the `--web-config` file says now: taken over while it runs, on SIGHUP and when it is seen to have changed.

Files are compared by what they hold: Kubernetes swaps a Secret's by links, and the times of those tell nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from exporter import web_tls
from exporter.errors import ConfigError
from exporter.web_auth import Passwords
from exporter.web_config import ClientAuth
from exporter.web_rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.web_config import WebConfig
    from exporter.web_tls import Files

_log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 5.0  # seconds


class Protection:
    """Who may ask for anything, and how; lives on one event loop."""

    def __init__(self, path: str, look_every: float = _LOOK_EVERY, read: Callable[[str], Files] = web_tls.read) -> None:
        """Read the file; ConfigError if it, or one that it names, cannot be used."""
        self._look_every = look_every
        self._read = read
        self._files = read(path)
        self.door = web_tls.door(self._files)
        self.passwords = Passwords(self._config.users)
        self._bucket = self._new_bucket()
        self._seen = _mark(self._files)
        self._told = ""
        if self._config.users and self._config.tls is None:
            _log.warning("--web-config: passwords without tls_server_config can be read on their way")

    @property
    def _config(self) -> WebConfig:
        return self._files.config

    @property
    def headers(self) -> Mapping[str, str]:
        """What to add to every answer."""
        return self._config.headers

    def _new_bucket(self) -> TokenBucket | None:
        limit = self._config.rate_limit
        return TokenBucket(limit, time.monotonic()) if limit else None

    def below_rate(self) -> bool:
        """Count a request; tell whether it may be answered."""
        return self._bucket is None or self._bucket.take(time.monotonic())

    def reload(self) -> None:
        """Take the files over as they are, or keep the old; the log says which, and why."""
        self._told = ""
        self._act(self._look())

    async def watch(self) -> None:
        """Go on taking over what has changed, once it holds still: a file may be seen half-written."""
        while True:
            await asyncio.sleep(self._look_every)
            found = await asyncio.to_thread(self._look)
            if self._seen == _mark(found):
                self._act(found)
            self._seen = _mark(found)

    def _look(self) -> Files | ConfigError:
        try:
            return self._read(self._files.path)
        except ConfigError as error:
            return error

    def _act(self, found: Files | ConfigError) -> None:
        """Take over what is new; what cannot be is told of once, and tried again, as it may not be the files' fault."""
        self._seen = _mark(found)
        try:
            if isinstance(found, ConfigError):
                raise found
            if found.digest != self._files.digest:
                self._take(found)
                _log.info("the web config was reloaded")
            self._told = ""
        except ConfigError as error:
            if str(error) != self._told:
                _log.error("reload: the web config stays as it was: %s", error)
            self._told = str(error)

    def _take(self, files: Files) -> None:
        """Serve by other files from now on; ConfigError if they are no good."""
        _refuse_to_open(self._config, files.config)
        door = web_tls.door(files)
        before, self._files, self.door = self._config, files, door
        self.passwords.replace(self._config.users)
        if self._config.rate_limit != before.rate_limit:
            self._bucket = self._new_bucket()


def _mark(found: Files | ConfigError) -> str:
    """Return what tells one look's outcome from another's."""
    return str(found) if isinstance(found, ConfigError) else found.digest.hex()


def _refuse_to_open(old: WebConfig, new: WebConfig) -> None:
    """Refuse to take protection away: that should be meant, and a file that was cut or emptied is not."""
    if (old.tls is None) != (new.tls is None):
        raise ConfigError("tls_server_config comes or goes: restart to have it so")
    if old.users and not new.users:
        raise ConfigError("basic_auth_users are gone: restart to let everybody in")
    if old.tls is None or new.tls is None or old.tls.client_auth is not ClientAuth.REQUIRED:
        return
    if new.tls.client_auth is not ClientAuth.REQUIRED or (old.tls.allowed_sans and not new.tls.allowed_sans):
        raise ConfigError("more clients' certificates would do, or none: restart to have it so")
