"""Who may come in: passwords by HTTP's basic authentication, checked as exporter-toolkit does.

bcrypt is slow on purpose, so it runs in threads, few and bounded: who guesses passwords must neither hold up the event
loop nor those who know theirs. A password that was right once is known again without bcrypt. All of it lives on one
event loop.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

import bcrypt

from exporter.web_config import cost

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A GPU node's cores are its tenants'.
_THREADS: Final = 2
#: Checks that wait or run, of all and of one address: who guesses leaves room for the others, even from many addresses.
_MOST_CHECKS: Final = 64
_MOST_CHECKS_OF_ONE: Final = 2
#: bcrypt knows no more of a password; Go and htpasswd cut what is longer, Python's refuses it.
_PASSWORD_BYTES: Final = 72
_ALPHABET: Final = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Verdict(Enum):
    """What came of a check."""

    WELCOME = auto()
    WRONG = auto()
    BUSY = auto()


class Passwords:
    """Checks passwords against hashes, which may be replaced."""

    def __init__(self, users: Mapping[str, str]) -> None:
        """`users` maps names to bcrypt hashes."""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="password")
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, bytes] = {}
        self._checking: Counter[str] = Counter()
        self.replace(users)

    def replace(self, users: Mapping[str, str]) -> None:
        """Take other users; who is still there with the same hash stays known."""
        self._users = {name.encode(): hashed for name, hashed in users.items()}
        self._decoy = _decoy(max(map(cost, users.values()), default=0))
        self._known = {name: mark for name, mark in self._known.items() if name in self._users}

    async def check(self, authorization: str, address: str) -> Verdict:
        """Tell whether a request's Authorization header lets it in; `address` is where it comes from.

        A name that nobody has takes as long as a wrong password.
        """
        if not self._users:
            return Verdict.WELCOME
        given = credentials(authorization)
        if given is None:
            return Verdict.WRONG
        user, password = given
        hashed = self._users.get(user)
        mark = self._mark(user, hashed or "", password)
        if hashed is not None and compare_digest(self._known.get(user, b""), mark):
            return Verdict.WELCOME
        if self._checking.total() >= _MOST_CHECKS or self._checking[address] >= _MOST_CHECKS_OF_ONE:
            return Verdict.BUSY
        right = await self._matches(password, hashed or self._decoy, address)
        if not right or hashed is None:
            return Verdict.WRONG
        if self._users.get(user) == hashed:  # it may have been replaced meanwhile
            self._known[user] = mark
        return Verdict.WELCOME

    async def _matches(self, password: bytes, hashed: str, address: str) -> bool:
        self._checking[address] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, matches, password, hashed)
        finally:
            self._checking[address] -= 1
            self._checking += Counter()  # forgets who has none

    def _mark(self, user: bytes, hashed: str, password: bytes) -> bytes:
        """Return what to remember of a right password: nothing that could be tried out without this process's key."""
        digest = blake2b(key=self._key, digest_size=32)
        for part in (user, hashed.encode(), password):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def close(self) -> None:
        """End the threads, without waiting for the check that one may be in."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """Return name and password of an Authorization header (RFC 7617); None if it has none."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
    except ValueError:  # also what is not ASCII
        return None
    return (user, password) if colon else None


def matches(password: bytes, hashed: str) -> bool:
    """Tell whether a password is the one of a bcrypt hash; takes long."""
    try:
        return bcrypt.checkpw(password[:_PASSWORD_BYTES], hashed.encode())
    except ValueError:
        return False


def _decoy(rounds: int) -> str:
    """Return a hash of that cost that has no password, for names that nobody has."""
    tail = "".join(secrets.choice(_ALPHABET) for _ in range(52))
    return f"$2b${rounds:02}${tail[:21]}.{tail[21:]}"
