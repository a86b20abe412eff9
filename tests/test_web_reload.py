"""The web configuration while it is in use: what changes is taken over, what is bad or opens the door is not."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import threading
from typing import TYPE_CHECKING

import bcrypt
import pytest

from exporter.errors import ConfigError
from exporter.web_auth import Verdict
from exporter.web_reload import Protection
from exporter.web_tls import read
from tests.certificates import Authority
from tests.test_web_auth import basic
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporter.web_tls import Files

ALICE = f"alice: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}"
BOB = f"bob: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key, %s}\n"
VERIFIED = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.crt"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """Return where the web configuration is to be."""
    return tmp_path / "web.yml"


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    """Hear all that is logged."""
    caplog.set_level(logging.INFO)


@contextlib.contextmanager
def protecting(file: Path, text: str, look: Callable[[str], Files] = read) -> Iterator[Protection]:
    """Return what protects by a file with that text."""
    file.write_text(text)
    protection = Protection(str(file), 0.001, look)
    with contextlib.closing(protection.passwords):
        yield protection


def welcome(protection: Protection, user: str) -> bool:
    """Tell whether a user's password is right."""
    return asyncio.run(protection.passwords.check(basic(user, "secret"), "a")) is Verdict.WELCOME


def test_a_bad_file_at_the_start_is_an_error(file: Path) -> None:
    """Nothing starts on a file that cannot be used."""
    with pytest.raises(ConfigError, match="unknown key 'user'"), protecting(file, "user: x"):
        pass


def test_passwords_without_tls_are_warned_of(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who sends passwords in the clear is told once, at the start."""
    with protecting(file, f"basic_auth_users: {{{ALICE}}}"):
        assert caplog.messages == ["--web-config: passwords without tls_server_config can be read on their way"]


def test_a_reload_takes_over_all_there_is(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Users, headers and rate are the new file's at once."""
    with protecting(file, f"basic_auth_users: {{{ALICE}}}") as protection:
        file.write_text(
            f"basic_auth_users: {{{BOB}}}\nrate_limit: {{interval: 1h, burst: 1}}\n"
            "http_server_config: {headers: {X-Frame-Options: deny}}\n"
        )
        protection.reload()

        assert (welcome(protection, "alice"), welcome(protection, "bob")) == (False, True)
        assert protection.headers == {"X-Frame-Options": "deny"}
        assert [protection.below_rate(), protection.below_rate()] == [True, False]
        assert caplog.messages[1:] == ["the web config was reloaded"]


def test_a_rate_that_stays_does_not_begin_anew(file: Path) -> None:
    """A reload for another reason gives nobody another burst."""
    rate = "rate_limit: {interval: 1h, burst: 1}\n"
    with protecting(file, rate) as protection:
        assert protection.below_rate()
        file.write_text(f"{rate}http_server_config: {{headers: {{X-Frame-Options: deny}}}}")
        protection.reload()

        assert not protection.below_rate()


def test_a_certificate_is_replaced_for_who_comes_next(file: Path) -> None:
    """New bytes in the certificate's files make another door, and the same bytes keep the one there is."""
    authority = Authority(file.parent)
    authority.sign("server")
    with protecting(file, TLS % "") as protection:
        before = protection.door
        protection.reload()
        assert protection.door is before

        authority.sign("server")
        protection.reload()
        assert protection.door is not before


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (f"basic_auth_users: {{{ALICE}}}", "", "basic_auth_users are gone: restart to let everybody in"),
        (f"basic_auth_users: {{{ALICE}}}", "basic_auth", "line 1: the file must map keys to values"),
        ("", TLS % "", "tls_server_config comes or goes"),
        (TLS % "", "", "tls_server_config comes or goes"),
        (TLS % "", TLS % "min_version: TLS9", "'TLS9' is not TLS12"),
        (TLS % "", TLS.replace("server.key", "authority.key") % "", "they do not belong together"),
        (TLS % VERIFIED, TLS % "", "more clients' certificates would do, or none"),
        (TLS % f"{VERIFIED}, client_allowed_sans: [a]", TLS % VERIFIED, "more clients' certificates would do"),
    ],
    ids=range(8),
)
def test_no_reload_opens_the_door(file: Path, caplog: pytest.LogCaptureFixture, old: str, new: str, why: str) -> None:
    """A file that is bad, or would let in more than before, is told of, and the old stays in whole."""
    Authority(file.parent).sign("server")
    with protecting(file, old) as protection:
        before, known = protection.door, welcome(protection, "alice")
        file.write_text(new)
        protection.reload()

        assert protection.door is before
        assert welcome(protection, "alice") == known
        assert caplog.messages[-1].startswith("reload: the web config stays as it was: ")
        assert why in caplog.messages[-1]


def test_more_protection_is_taken_over(file: Path) -> None:
    """What lets in fewer needs no restart."""
    Authority(file.parent).sign("server")
    with protecting(file, TLS % "") as protection:
        file.write_text(TLS % f"{VERIFIED}, client_allowed_sans: [a]" + f"basic_auth_users: {{{ALICE}}}")
        protection.reload()

        assert protection.door.allowed_sans == {"a"}
        assert not welcome(protection, "bob")


class Looks:
    """Looks at the files, and counts; `before` is done before each."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        """None yet."""
        self.done = 0
        self._before = before

    def __call__(self, path: str) -> Files:
        """Look."""
        self._before()
        try:
            return read(path)
        finally:
            self.done += 1

    def more(self, number: int) -> None:
        """Wait until that many more are over, and what came of them, too."""
        end = self.done + number + 1
        until(lambda: self.done >= end)


def watched(protection: Protection, work: Callable[[], object]) -> None:
    """Do something while the files are watched."""

    async def both() -> None:
        watch = asyncio.create_task(protection.watch())
        await asyncio.to_thread(work)
        watch.cancel()

    asyncio.run(both())


def test_a_change_is_seen_without_a_signal(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that has changed and holds still is taken over by itself, once."""
    looks = Looks()

    def change() -> None:
        looks.more(2)
        file.write_text(f"basic_auth_users: {{{BOB}}}")
        looks.more(5)

    with protecting(file, f"basic_auth_users: {{{ALICE}}}", looks) as protection:
        watched(protection, change)

        assert welcome(protection, "bob")
        assert caplog.messages[1:] == ["the web config was reloaded"]


def test_a_file_that_still_changes_is_not_taken(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While every look finds other bytes somebody is writing: half a file might be a good one."""
    number = iter(range(10_000))
    looks = Looks(lambda: file.write_text(f"basic_auth_users: {{{ALICE}}} # {next(number)}"))
    with protecting(file, "", looks) as protection:
        watched(protection, lambda: looks.more(10))

        assert "the web config was reloaded" not in caplog.messages


def test_a_bad_file_is_told_of_once_and_may_get_well(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However often it is looked at, one line says why it stays as it was; once it is good again it is taken over."""
    looks = Looks()

    def change() -> None:
        file.unlink()
        looks.more(6)
        file.write_text(f"basic_auth_users: {{{BOB}}}")
        looks.more(5)

    with protecting(file, f"basic_auth_users: {{{ALICE}}}", looks) as protection:
        watched(protection, change)

        told = [message.partition(":")[0] for message in caplog.messages[1:]]
        assert told == ["reload", "the web config was reloaded"]
        assert welcome(protection, "bob")


def test_what_failed_for_another_reason_than_the_files_is_tried_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A new certificate that came while no descriptor was free is told of once, and met as soon as one is."""
    authority = Authority(file.parent)
    authority.sign("server")
    looks = Looks()

    def create(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    def change() -> None:
        with monkeypatch.context() as system:
            system.setattr(os, "memfd_create", create)
            authority.sign("server")
            looks.more(6)
        looks.more(3)

    with protecting(file, TLS % "", looks) as protection:
        before = protection.door
        watched(protection, change)

        assert protection.door is not before
        [told, taken] = caplog.messages
        assert told.endswith("web.yml cannot be used: [Errno 24] Too many open files")
        assert taken == "the web config was reloaded"


def test_who_asks_for_a_reload_is_told_every_time(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SIGHUP on a file that was bad before says again that it is."""
    with protecting(file, "") as protection:
        file.write_text("nonsense")
        protection.reload()
        protection.reload()

        assert len(caplog.messages) == 2


def test_a_look_that_began_before_a_reload_undoes_nothing(file: Path) -> None:
    """What was read before SIGHUP, and comes after it, is old: the newer file stays."""
    reading, go_on = threading.Event(), threading.Event()

    def slow(path: str) -> Files:
        found = read(path)
        if threading.current_thread() is not threading.main_thread():
            reading.set()
            assert go_on.wait(10)
            go_on.clear()
        return found

    def change(protection: Protection) -> None:
        file.write_text(f"basic_auth_users: {{{BOB}}}")
        protection.reload()

    async def race(protection: Protection) -> None:
        watch = asyncio.create_task(protection.watch())
        await asyncio.to_thread(reading.wait, 10)
        change(protection)
        reading.clear()
        go_on.set()
        await asyncio.to_thread(reading.wait, 10)  # the next look is begun: that one has been judged
        watch.cancel()
        go_on.set()

    with protecting(file, f"basic_auth_users: {{{ALICE}}}", slow) as protection:
        asyncio.run(race(protection))
        assert welcome(protection, "bob")
