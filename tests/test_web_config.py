"""The web configuration file: every key of the toolkit's honoured or refused, no secret in any error."""

from __future__ import annotations

import pytest

from exporter.errors import ParseError
from exporter.web_config import CIPHER_SUITES, ClientAuth, Pem, RateLimit, Tls, WebConfig, cost, parse

HASH = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze"  # of the toolkit's own sample file
PAIR = "tls_server_config: {cert_file: a.crt, key_file: a.key, %s}"
VERIFIED = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"
WHOLE = f"""
tls_server_config:
  cert_file: server.crt
  key: |
    -----BEGIN PRIVATE KEY-----
    c2VjcmV0c2VjcmV0
    -----END PRIVATE KEY-----
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: /etc/ca.crt
  client_allowed_sans: [prometheus, 10.0.0.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP384]
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=1
basic_auth_users:
  alice: {HASH}
  "0123": {HASH.replace("$2y$10", "$2b$04")}
rate_limit:
  interval: 1m1.5s
  burst: 20
"""


def refusal(text: str) -> str:
    """Return the sentence that a file is refused with; it is one line."""
    with pytest.raises(ParseError) as caught:
        parse(text)
    sentence = str(caught.value)
    assert sentence.splitlines() == [sentence]
    return sentence


def tls(more: str) -> Tls:
    """Return the TLS section of a file that has a certificate and these keys."""
    found = parse(PAIR % more).tls
    assert found is not None
    return found


def test_an_empty_file_asks_for_nothing() -> None:
    """As with the toolkit, an empty file and empty sections protect nothing."""
    for text in ("", "tls_server_config:\nbasic_auth_users: {}\nhttp_server_config:\nrate_limit:\n"):
        assert parse(text) == WebConfig()


def test_every_key_of_the_toolkit_is_read() -> None:
    """A file with all there is gives the whole record."""
    config = parse(WHOLE)

    assert config.tls == Tls(
        Pem("server.crt"),
        Pem(text="-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n"),
        client_ca=Pem("/etc/ca.crt"),
        client_auth=ClientAuth.REQUIRED,
        allowed_sans=frozenset({"prometheus", "10.0.0.1"}),
        versions=("TLS12", "TLS13"),
        ciphers=("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA"),
        server_preference=False,
        curve="secp384r1",
    )
    assert config.users == {"alice": HASH, "0123": HASH.replace("$2y$10", "$2b$04")}
    assert config.headers == {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=1"}
    assert config.rate_limit == RateLimit(61.5, 20)


def test_without_a_word_tls_is_as_safe_as_the_toolkits() -> None:
    """A certificate alone means TLS 1.2 or 1.3, OpenSSL's suites and curves, and no clients' certificates."""
    assert tls("") == Tls(Pem("a.crt"), Pem("a.key"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PAIR % "zz: 1", "line 1: tls_server_config: unknown key 'zz'; keys are cert_file, cert, key_file, key, "),
        ("tls_server_config: {key_file: a}", "tls_server_config needs cert_file (or cert) and key_file (or key)"),
        ("tls_server_config: {min_version: TLS13}", "tls_server_config needs cert_file (or cert)"),
        (PAIR % "cert: x", "line 1: tls_server_config, cert: cert_file is given, too; which one holds?"),
        (PAIR % "min_version: TLS11", "min_version: 'TLS11' is not TLS12 or TLS13 (OpenSSL holds what is older"),
        (PAIR % "max_version: TLS10", "max_version: 'TLS10' is not TLS12 or TLS13"),
        (PAIR % "min_version: TLS13, max_version: TLS12", "max_version: TLS12 is below min_version, TLS13"),
        (PAIR % "client_auth_type: RequestClientCert", "Python's TLS cannot ask for a certificate without verifying"),
        (PAIR % "client_auth_type: RequireAnyClientCert", "'RequireAnyClientCert' is not NoClientCert or Verify"),
        (PAIR % "client_auth_type: VerifyClientCertIfGiven", "client_auth_type: who signs the clients' certificates?"),
        (PAIR % "client_ca_file: ca", "client_ca_file: client_auth_type does not ask for a client's certificate"),
        (PAIR % "client_ca: PEM", "client_ca: client_auth_type does not ask for a client's certificate"),
        (PAIR % "client_allowed_sans: [x]", "client_allowed_sans: needs the client_auth_type RequireAndVerify"),
        (PAIR % f"{VERIFIED}, client_allowed_sans: []", "client_allowed_sans: lists nobody"),
        (PAIR % "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", "'TLS_RSA_WITH_RC4_128_SHA' is none of TLS_ECDHE_"),
        (PAIR % "cipher_suites: [TLS_AES_128_GCM_SHA256]", "has no suite for TLS12; set min_version to TLS13"),
        (PAIR % "curve_preferences: [CurveP9]", "'CurveP9' is none of CurveP256, CurveP384, CurveP521, X25519"),
        (PAIR % "curve_preferences: [X25519, CurveP256]", "curve_preferences: Python's TLS can be held to one curve"),
        ("http_server_config: {http2: maybe}", "http_server_config, http2: 'maybe' is not true or false"),
        ("http_server_config: {headers: {Server: x}}", "headers: unknown key 'Server'; keys are Content-Security-"),
        ("http_server_config: {headers: {X-Frame-Options: no}}", "X-Frame-Options: 'no' is not deny or sameorigin"),
        ('http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb"}}', "'a\\r\\nb' is not one line of ASCII"),
        ("basic_auth_users: {alice: secret}", "line 1: basic_auth_users: the password is not a bcrypt hash ($2a$,"),
        ("basic_auth_users:\n  alice:\n", "line 2: basic_auth_users: the password is not a bcrypt hash"),
        ("basic_auth_users: {'a:b': x}", "line 1: basic_auth_users: a name has a colon, which no browser could send"),
        ("rate_limit: {burst: 1}", "rate_limit, burst: without an interval nothing would be limited"),
        ("rate_limit: {interval: 1s}", "rate_limit, interval: without a burst of 1 or more nobody would ever be"),
        ("rate_limit: {interval: 5, burst: 1}", "interval: '5' is not a duration such as 500ms, 1s or 1m30s"),
        ("rate_limit: {interval: 1s, burst: -1}", "rate_limit, burst: '-1' is not a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_its_name(text: str, expected: str) -> None:
    """Each key whose value we cannot give effect to ends in a sentence with the key and what would do."""
    assert expected in refusal(text)


def test_the_toolkits_words_for_nothing_are_nothing() -> None:
    """An interval of 0 turns the limit off, and blank headers and empty lists are as if they were not there."""
    assert parse("rate_limit: {interval: 0, burst: 5}").rate_limit is None
    assert parse("rate_limit: {interval: 0s, burst: 5}").rate_limit is None
    assert parse("http_server_config: {http2: false, headers: {X-Frame-Options: ''}}").headers == {}
    assert tls("cipher_suites: [], curve_preferences: [], client_auth_type: NoClientCert") == tls("")


def test_every_suite_that_go_calls_secure_has_openssls_name() -> None:
    """The ten suites are taken in the order given."""
    assert tls(f"cipher_suites: [{', '.join(CIPHER_SUITES)}]").ciphers == tuple(CIPHER_SUITES.values())
    assert len(set(CIPHER_SUITES.values())) == 10


def test_suites_of_tls_13_alone_need_tls_13() -> None:
    """Where TLS 1.2 is off there may be no suite for it."""
    assert tls("min_version: TLS13, cipher_suites: [TLS_AES_128_GCM_SHA256]").ciphers == ()


@pytest.mark.parametrize(
    ("hashed", "expected"),
    [(HASH, 10), (HASH.replace("2y", "2a"), 10), (HASH.replace("$10$", "$04$"), 4), (HASH.replace("$10$", "$16$"), 16)],
)
def test_a_hash_tells_what_it_costs(hashed: str, expected: int) -> None:
    """The cost of the spellings that bcrypt has."""
    assert cost(hashed) == expected


@pytest.mark.parametrize(
    "hashed",
    [
        "", HASH[:-1], HASH + "a", HASH.replace("2y", "2x"), HASH.replace("$10$", "$03$"), HASH.replace("$10$", "$17$"),
        HASH.replace("$10$", "$1a$"), HASH[:28] + "z" + HASH[29:], "x" + HASH, HASH + "\n",
    ],
)  # fmt: skip
def test_what_is_no_hash_or_takes_ages_is_refused(hashed: str) -> None:
    """A hash that could never match, or whose check would outlast a scrape, is refused at the start."""
    with pytest.raises(ValueError, match="a bcrypt hash"):
        cost(hashed)


def test_no_error_quotes_a_secret() -> None:
    """Cut off anywhere, or with any line out of place, the file is read or refused, but no secret is told."""
    lines = WHOLE.splitlines(keepends=True)
    cut = [WHOLE[:end] for end in range(0, len(WHOLE), 7)]
    changes = (str.lstrip, lambda line: "    " + line, lambda line: line.replace(": ", ":"))
    shifted = [
        "".join((*lines[:at], change(line), *lines[at + 1 :])) for at, line in enumerate(lines) for change in changes
    ]
    told = []
    for text in (*cut, *shifted):
        try:
            told.append(repr(parse(text)))
        except ParseError as error:
            told.append(str(error))

    assert any("line" in one for one in told)
    assert not [one for one in told if "c2VjcmV0" in one or HASH[7:20] in one]
