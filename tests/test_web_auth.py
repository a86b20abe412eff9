"""Passwords: right, wrong, remembered, and what a flood of wrong ones may cost."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from typing import TYPE_CHECKING

import bcrypt
import pytest

from exporter import web_auth
from exporter.web_auth import Passwords, Verdict, credentials, matches

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
SLOWER = bcrypt.hashpw(b"slow", bcrypt.gensalt(5)).decode()
LONG = b"x" * 72


def basic(user: str, password: str) -> str:
    """Return an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Asked:
    """bcrypt, which counts; `hold` makes it wait."""

    def __init__(self) -> None:
        """Nobody waits."""
        self.hashes: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, password: bytes, hashed: str) -> bool:
        """Check a password."""
        self.hashes.append(hashed)
        assert self.go_on.wait(10)
        return matches(password, hashed)


@pytest.fixture(name="asked")
def _asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Count what bcrypt is asked."""
    counter = Asked()
    monkeypatch.setattr(web_auth, "matches", counter)
    yield counter
    counter.go_on.set()


def verdicts(users: Mapping[str, str], *tries: str, address: str = "a") -> list[Verdict]:
    """Check these headers one after the other."""

    async def check() -> list[Verdict]:
        with contextlib.closing(Passwords(users)) as passwords:
            return [await passwords.check(header, address) for header in tries]

    return asyncio.run(check())


def test_only_the_right_password_of_a_user_is_welcome() -> None:
    """Whoever knows the password of a name comes in, and nobody else."""
    right, *wrong = (
        basic("alice", "secret"), basic("alice", "Secret"), basic("alice", ""), basic("bob", "secret"),
        basic("", "secret"), "", "Basic", "Bearer x", basic("alice", "secret").replace("Basic", "Digest"),
    )  # fmt: skip

    assert verdicts({"alice": HASH}, right) == [Verdict.WELCOME]
    assert set(verdicts({"alice": HASH}, *wrong)) == {Verdict.WRONG}


def test_without_users_everybody_is_welcome() -> None:
    """No password is asked for where the file has none."""
    assert verdicts({}, "", basic("alice", "x")) == [Verdict.WELCOME] * 2


def test_a_right_password_is_asked_of_bcrypt_once(asked: Asked) -> None:
    """Once right it is known; a wrong one is asked every time, and does not become known."""
    right, wrong = basic("alice", "secret"), basic("alice", "wrong")

    assert verdicts({"alice": HASH}, right, right, wrong, wrong, right) == [
        Verdict.WELCOME, Verdict.WELCOME, Verdict.WRONG, Verdict.WRONG, Verdict.WELCOME,
    ]  # fmt: skip
    assert len(asked.hashes) == 3


def test_a_name_that_nobody_has_costs_as_much_as_the_dearest_password(asked: Asked) -> None:
    """An unknown name is hashed as well, at the highest cost there is, so that time does not tell who is there."""
    users = {"alice": HASH, "bob": SLOWER}

    assert verdicts(users, basic("mallory", "x"), basic("mallory", "x")) == [Verdict.WRONG] * 2
    assert [hashed[:7] for hashed in asked.hashes] == ["$2b$05$", "$2b$05$"]


def test_a_flood_of_wrong_passwords_leaves_room(asked: Asked) -> None:
    """While one address guesses, it is put off beyond two at once; another is heard, and who is known needs nobody."""

    async def flood() -> None:
        with contextlib.closing(Passwords({"alice": HASH, "bob": HASH})) as passwords:
            assert await passwords.check(basic("alice", "secret"), "prometheus") is Verdict.WELCOME
            asked.go_on.clear()
            guesses = [
                asyncio.create_task(passwords.check(basic("alice", str(number)), "mallory")) for number in range(50)
            ]
            await asyncio.sleep(0.01)
            put_off = [guess for guess in guesses if guess.done()]
            assert [guess.result() for guess in put_off] == [Verdict.BUSY] * 48
            assert await passwords.check(basic("alice", "secret"), "prometheus") is Verdict.WELCOME
            new = asyncio.create_task(passwords.check(basic("bob", "secret"), "grafana"))
            await asyncio.sleep(0.01)
            asked.go_on.set()
            assert await new is Verdict.WELCOME
            assert {await guess for guess in guesses if guess not in put_off} == {Verdict.WRONG}
            assert await passwords.check(basic("alice", "51"), "mallory") is Verdict.WRONG

    asyncio.run(flood())


def test_guesses_from_many_addresses_are_bounded_in_all(asked: Asked) -> None:
    """However many addresses guess, no more than 64 checks wait, so that it is soon one's turn."""

    async def flood() -> None:
        with contextlib.closing(Passwords({"alice": HASH})) as passwords:
            asked.go_on.clear()
            guesses: list[Coroutine[object, object, Verdict]] = [
                passwords.check(basic("alice", "x"), str(address)) for address in range(80)
            ]
            running = asyncio.gather(*guesses)
            await asyncio.sleep(0.01)
            asked.go_on.set()
            found = await running
            assert (found.count(Verdict.WRONG), found.count(Verdict.BUSY)) == (64, 16)

    asyncio.run(flood())


def test_other_users_are_taken_over_and_the_same_stay_known(asked: Asked) -> None:
    """After a reload a changed hash counts at once, and who has kept the old one is not hashed again."""

    async def reload() -> list[Verdict]:
        with contextlib.closing(Passwords({"alice": HASH, "bob": HASH})) as passwords:
            tries = [basic("alice", "secret"), basic("bob", "secret")]
            before = [await passwords.check(header, "a") for header in tries]
            passwords.replace({"alice": HASH, "bob": SLOWER})
            return before + [await passwords.check(header, "a") for header in tries]

    assert asyncio.run(reload()) == [Verdict.WELCOME, Verdict.WELCOME, Verdict.WELCOME, Verdict.WRONG]
    assert asked.hashes == [HASH, HASH, SLOWER]


def test_a_password_that_went_while_it_was_checked_is_not_remembered(asked: Asked) -> None:
    """Who was right by the old hash does not stay known under the new one."""

    async def race() -> None:
        with contextlib.closing(Passwords({"alice": HASH})) as passwords:
            asked.go_on.clear()
            check = asyncio.create_task(passwords.check(basic("alice", "secret"), "a"))
            await asyncio.sleep(0.01)
            passwords.replace({"alice": SLOWER})
            asked.go_on.set()
            await check
            assert await passwords.check(basic("alice", "secret"), "a") is Verdict.WRONG

    asyncio.run(race())


def test_what_bcrypt_cannot_take_is_cut_or_wrong() -> None:
    """A password beyond bcrypt's 72 bytes counts to there, as for htpasswd; a broken hash matches nothing."""
    hashed = bcrypt.hashpw(LONG, bcrypt.gensalt(4)).decode()

    assert matches(LONG + b"more", hashed)
    assert not matches(LONG[:-1], hashed)
    assert not matches(b"a\0b", hashed)
    assert not matches(LONG, "$2b$04$" + "z" * 53)


@pytest.mark.parametrize("letter", ["a", "b", "y"])
def test_hashes_of_every_spelling_match(letter: str) -> None:
    """Programs write $2y$ (htpasswd), $2a$ (Go) or $2b$ (Python)."""
    assert matches(b"secret", HASH.replace("$2b$", f"$2{letter}$"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic YTpi", (b"a", b"b")),
        ("basic  YTpi ", (b"a", b"b")),
        ("BASIC YTpiOmM=", (b"a", b"b:c")),
        ("Basic Og==", (b"", b"")),
        ("Basic YQ==", None),
        ("Basic YTpi!", None),
        ("Basic é", None),
        ("Basic\tYTpi", None),
        ("Basic", None),
        ("", None),
    ],
)
def test_credentials_are_read_as_rfc_7617_has_them(header: str, expected: tuple[bytes, bytes] | None) -> None:
    """The name ends at the first colon, and whatever is no header of that kind gives nothing."""
    assert credentials(header) == expected
