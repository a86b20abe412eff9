"""Real certificates from the openssl command: an authority and what it signs."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG = "[req]\ndistinguished_name = name\n[name]\n"


class Pair(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is `pair`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        """Make it, in that directory."""
        self._directory = directory
        self._config = directory / "openssl.cnf"
        self._config.write_text(_CONFIG)
        self.pair = self._make(name, "basicConstraints=critical,CA:TRUE")

    def sign(self, name: str, names: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
        """Return a new pair with these subject alternative names."""
        signed_by = ("-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key))
        return self._make(name, f"subjectAltName={names}", *signed_by)

    def _make(self, name: str, extension: str, *options: str) -> Pair:
        pair = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        command: list[str | Path] = [
            "openssl", "req", "-x509", "-config", self._config, "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}", "-days", "2", "-addext", extension,
            "-out", pair.certificate, "-keyout", pair.key, *options,
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        return pair

    def trusting(self, pair: Pair | None = None) -> ssl.SSLContext:
        """Return what a client speaks TLS with that trusts this authority, and shows a certificate if it has one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.pair.certificate)
        if pair is not None:
            context.load_cert_chain(*pair)
        return context


def serial(certificate: Path) -> int:
    """Return a certificate's serial number, which tells one from another."""
    found = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-serial"], check=True, capture_output=True, text=True
    )
    return int(found.stdout.strip().removeprefix("serial="), 16)
