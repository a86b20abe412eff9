"""Settings: flag > environment > file > default, and one sentence for whatever cannot be used."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config import (
    NODE,
    QUOTA,
    Address,
    NodeSettings,
    QuotaSettings,
    address,
    node_settings,
    quota_settings,
    seconds,
)
from exporter.device_config import DeviceConfig
from exporter.errors import ConfigError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NAMES = [setting.name for setting in NODE]
BY_NAME = {setting.name: setting for setting in NODE}


def resolve(
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
) -> NodeSettings:
    """Resolve the settings of a node that has a name."""
    named = {"node-name": ["n1"]} if not (flags and "node-name" in flags) else {}
    return node_settings({**named, **(flags or {})}, environment or {}, file)


def refusal(
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the sentence that these settings are refused with; it is one line."""
    with pytest.raises(ConfigError) as caught:
        resolve(file, environment, flags)
    sentence = str(caught.value)
    assert sentence.splitlines() == [sentence]
    return sentence


def value(settings: NodeSettings, name: str) -> object:
    """Return one setting's value."""
    found: object = getattr(settings, name.replace("-", "_"))
    return found


def test_the_defaults_are_the_documented_ones() -> None:
    """With nothing but a node name every setting has the default that the flags' table names."""
    assert resolve() == NodeSettings(
        node_name="n1",
        listen=(Address("0.0.0.0", 9836),),  # noqa: S104  the documented default
        health_listen=(Address("0.0.0.0", 9837),),  # noqa: S104  the documented default
        interval=1.0,
        procfs="/proc",
        hami_containers=("/usr/local/vgpu/containers", "/usr/local/vgpu/vgpu/containers"),
        kubeconfig=None,
        no_kubernetes=False,
        pods_max_age=900.0,
        tenant_pod_label=None,
        pod_labels=(),
        web_config=None,
        log_format="text",
        log_level="info",
    )


@pytest.mark.parametrize(
    ("name", "texts", "values"),
    [
        ("interval", ("2s", "3s", "4s"), (2.0, 3.0, 4.0)),
        ("procfs", ("/a", "/b", "/c"), ("/a", "/b", "/c")),
        ("hami-containers", ("/a", "", "/b,/c"), (("/a",), (), ("/b", "/c"))),
        ("no-kubernetes", ("true", "false", "yes"), (True, False, True)),
        ("log-level", ("debug", "error", "warning"), ("debug", "error", "warning")),
        ("pod-labels", ("a", "b", "c"), (("a",), ("b",), ("c",))),
        ("listen", (":1", ":2", ":3"), tuple((address(text),) for text in (":1", ":2", ":3"))),
        ("health-listen", (":1", ":2", ""), ((address(":1"),), (address(":2"),), ())),
        ("tenant-pod-label", ("x/a", "x/b", "x/c"), ("x/a", "x/b", "x/c")),
    ],
)
def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    name: str, texts: tuple[str, str, str], values: tuple[object, object, object]
) -> None:
    """For every kind of setting the flag wins over the variable, that over the file, that over the default."""
    file, environment, flags = f"{name}: '{texts[2]}'", {BY_NAME[name].variable: texts[1]}, {name: [texts[0]]}

    assert value(resolve(file, environment, flags), name) == values[0]
    assert value(resolve(file, environment), name) == values[1]
    assert value(resolve(file), name) == values[2]


def test_the_node_name_comes_from_the_flag_then_its_variable_then_node_name_then_the_file() -> None:
    """NODE_NAME, which a pod has from spec.nodeName, is the environment's: above the file, below the setting's own."""
    file = "node-name: file"
    own, plain = {"VGPU_EXPORTER_NODE_NAME": "own"}, {"NODE_NAME": "plain"}

    assert node_settings({"node-name": ["flag"]}, own | plain, file).node_name == "flag"
    assert node_settings({}, own | plain, file).node_name == "own"
    assert node_settings({}, plain, file).node_name == "plain"
    assert node_settings({}, {}, file).node_name == "file"


def test_without_a_node_name_nothing_starts() -> None:
    """No node name anywhere is refused with where it could come from."""
    with pytest.raises(ConfigError, match=r"--node-name is not set.*NODE_NAME"):
        node_settings({}, {}, None)


def test_a_repeatable_flag_adds_up_and_splits_at_commas() -> None:
    """Lists may be given in several flags, with commas, or both; the variable is split at commas."""
    assert resolve(flags={"pod-labels": ["a, b", "c"]}).pod_labels == ("a", "b", "c")
    assert resolve(environment={"VGPU_EXPORTER_POD_LABELS": "a,b"}).pod_labels == ("a", "b")
    assert resolve("pod-labels: [a, b]").pod_labels == ("a", "b")
    assert resolve("pod-labels: a,b").pod_labels == ("a", "b")


def test_of_a_single_flag_given_twice_the_last_counts() -> None:
    """A flag that is no list may be given again to overrule itself."""
    assert resolve(flags={"interval": ["2s", "3s"]}).interval == 3.0


@pytest.mark.parametrize(
    "given_as",
    [
        {"flags": {"health-listen": [""]}},
        {"environment": {"VGPU_EXPORTER_HEALTH_LISTEN": ""}},
        {"file": "health-listen: ''"},
        {"file": "health-listen: []"},
    ],
    ids=["flag", "variable", "empty text", "empty list"],
)
def test_an_empty_health_listen_switches_it_off(given_as: dict[str, Any]) -> None:
    """An empty --health-listen, from wherever it comes, means no health endpoint."""
    assert resolve(**given_as).health_listen == ()


def test_an_exporter_that_listens_nowhere_is_refused() -> None:
    """An empty --listen is a mistake, not a wish."""
    assert refusal(flags={"listen": [""]}) == "--listen is empty: HOST:PORT was expected at least once"


BAD_VALUES = [
    ("node-name", "Node_1", "the node's Kubernetes name"),
    ("node-name", "", "the node's Kubernetes name"),
    ("listen", "9836", "HOST:PORT or [IPV6]:PORT with a port of at most 65535"),
    ("listen", "0.0.0.0:65536", "HOST:PORT or [IPV6]:PORT with a port of at most 65535"),
    ("listen", "0.0.0.0:٣", "HOST:PORT"),
    ("listen", "::1:9836", "HOST:PORT or [IPV6]:PORT"),
    ("listen", "[::::]:9836", "HOST:PORT or [IPV6]:PORT"),
    ("listen", "[::1%eth0\n]:9836", "HOST:PORT or [IPV6]:PORT"),
    ("listen", "[127.0.0.1]:9836", "HOST:PORT or [IPV6]:PORT"),
    ("listen", "a..b:9836", "HOST:PORT"),
    ("listen", "x" * 64 + ":9836", "HOST:PORT"),
    ("listen", "a b:9836", "HOST:PORT"),
    ("health-listen", "localhost", "HOST:PORT"),
    ("interval", "1 s", "a duration such as 500ms, 1s, 15m or 2h"),
    ("interval", "-1s", "a duration such as"),
    ("interval", "nan", "a duration such as"),
    ("interval", "1e0", "a duration such as"),
    ("interval", "٣s", "a duration such as"),
    ("interval", "1d", "a duration such as"),
    ("interval", "499ms", "a duration from 500ms (the driver samples every 200ms) to 10s"),
    ("interval", "16s", "a duration from 500ms"),
    ("procfs", "", "a path"),
    ("kubeconfig", " ", "a path"),
    ("no-kubernetes", "maybe", "true or false"),
    ("no-kubernetes", "", "true or false"),
    ("pods-max-age", "0s", "a duration above 0"),
    ("pods-max-age", "9" * 400, "a duration such as"),
    ("tenant-pod-label", "a b", "a Kubernetes label key, such as app.kubernetes.io/name"),
    ("tenant-pod-label", "x" * 64, "a Kubernetes label key"),
    ("tenant-pod-label", "/a", "a Kubernetes label key"),
    ("pod-labels", "ok,-bad", "a Kubernetes label key"),
    ("log-format", "xml", "text or json"),
    ("log-level", "INFO", "debug or info or warning or error"),
]


def shown_by(name: str, text: str) -> str:
    """Return the start of the sentence that refuses a text given as the setting's flag."""
    return f"--{name}: {shorten(text)} is not "


@pytest.mark.parametrize(("name", "text", "expected"), BAD_VALUES)
def test_a_bad_value_is_named_with_its_origin_and_what_was_expected(name: str, text: str, expected: str) -> None:
    """Each bad value is refused, as flag and as variable, naming the origin, the text and what was expected."""
    flag, variable = refusal(flags={name: [text]}), None
    assert flag.startswith(shown_by(name, text) + expected)

    if name != "node-name":  # which these tests always give as a flag
        variable = refusal(environment={BY_NAME[name].variable: text})
        assert variable == flag.replace(f"--{name}", BY_NAME[name].variable, 1)


def test_a_bad_value_in_the_file_names_the_key() -> None:
    """A bad value of the file is refused with the key."""
    assert refusal("interval: 1d") == "--config file, interval: '1d' is not a duration such as 500ms, 1s, 15m or 2h"


def test_a_bad_node_name_says_where_it_came_from() -> None:
    """A bad NODE_NAME is refused under that name."""
    with pytest.raises(ConfigError, match=r"^NODE_NAME: '-' is not the node's Kubernetes name$"):
        node_settings({}, {"NODE_NAME": "-"}, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9836", Address("0.0.0.0", 9836)),  # noqa: S104  an empty host means everywhere
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("gpu-1.example.org.:80", Address("gpu-1.example.org.", 80)),
        ("[::]:9836", Address("::", 9836)),
        ("[::1]:9836", Address("::1", 9836)),
        ("[fe80::1%eth0]:9836", Address("fe80::1%eth0", 9836)),
        ("[::ffff:10.0.0.1]:1", Address("::ffff:10.0.0.1", 1)),
    ],
)
def test_an_address_is_host_and_port(text: str, expected: Address) -> None:
    """Names, IPv4 and bracketed IPv6 addresses are taken; IPv6 comes without its brackets."""
    assert address(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("1s", 1.0), ("1.5s", 1.5), ("15m", 900.0), ("2h", 7200.0), ("3", 3.0), ("0s", 0.0)],
)
def test_a_duration_has_a_unit_or_is_seconds(text: str, expected: float) -> None:
    """Durations are Prometheus-style, a bare number is seconds."""
    assert seconds(text) == expected


def test_an_unknown_key_of_the_file_is_named_with_the_known_ones() -> None:
    """A misspelt key is refused, and the sentence lists what there is."""
    assert refusal("intervall: 1s") == (
        f"the --config file has an unknown key 'intervall'; keys are {', '.join(NAMES)}"
    )


@pytest.mark.parametrize("file", ["1: 1s", "true: x", "[a, b]: x", "? {a: b}\n: x", "null: x"])
def test_a_key_that_is_no_text_is_unknown(file: str) -> None:
    """Whatever YAML allows as a key, only the settings' names are keys here."""
    assert "has an unknown key" in refusal(file)


@pytest.mark.parametrize("file", ["a", "- interval", "[interval, 1s]", "1", "''"])
def test_a_file_that_maps_nothing_is_refused(file: str) -> None:
    """A YAML file whose top is no mapping is refused."""
    assert "must map keys to values" in refusal(file)


@pytest.mark.parametrize("file", ["", "---\n", "# only a remark\n", "{}"])
def test_an_empty_file_sets_nothing(file: str) -> None:
    """An empty file, or one of remarks, leaves the defaults."""
    assert resolve(file) == resolve()


@pytest.mark.parametrize(
    "file",
    [
        "interval: [",
        "a: b: c",
        "\tinterval: 1s",
        "interval: *nowhere",
        "a: 1\n---\nb: 2\n",
        "interval: \x00",
        'interval: "\\UFFFFFFFF"',
        "%YAML 1." + "9" * 5000 + "\n---\n{}",
        "[" * 1500,
        "{interval: " * 1500,
    ],
    ids=["open", "double", "tab", "alias", "two documents", "NUL", "escape", "directive", "lists", "mappings"],
)
def test_what_is_not_yaml_is_refused_in_one_line(file: str) -> None:
    """A broken file, and one nested beyond reason, is refused with one short line."""
    sentence = refusal(file)

    assert sentence.startswith("the --config file is not YAML: ")
    assert len(sentence) < 400


def test_a_yaml_bomb_costs_nothing() -> None:
    """Nine levels of nine aliases, a billion texts if written out, are refused at once in a short line."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    bomb = "pod-labels:\n  - {" + ", ".join(levels) + "}\n"
    begun = time.monotonic()

    sentence = refusal(bomb)

    assert sentence == "--config file, pod-labels: this list or mapping is not a text, a number or a list of those"
    assert time.monotonic() - begun < 2


def test_a_list_that_holds_itself_is_refused() -> None:
    """A recursive alias is a list within a list like any other."""
    assert "this list or mapping is not" in refusal("pod-labels: &a [*a]")


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("no-kubernetes: true", "no-kubernetes", True),
        ("no-kubernetes: off", "no-kubernetes", False),
        ("no-kubernetes: 1", "no-kubernetes", True),
        ("interval: 2", "interval", 2.0),
        ("interval: 1.5", "interval", 1.5),
        ("tenant-pod-label: 2001-01-01", "tenant-pod-label", "2001-01-01"),
        ("pod-labels: [1, true, app]", "pod-labels", ("1", "true", "app")),
        ("procfs: 0123", "procfs", "0123"),
        ("health-listen: [':1', '[::1]:2']", "health-listen", (Address("0.0.0.0", 1), Address("::1", 2))),  # noqa: S104
    ],
)
def test_a_value_of_the_file_is_the_text_that_was_written(file: str, name: str, expected: object) -> None:
    """Numbers, switches, dates and octal-looking names mean what they would mean as a flag."""
    assert value(resolve(file), name) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("interval:", "interval: nothing is not one text or number"),
        ("kubeconfig: null", "kubeconfig: nothing is not one text or number"),
        ("kubeconfig: ~", "kubeconfig: nothing is not one text or number"),
        ("interval: [1s, 2s]", "interval: this list or mapping is not one text or number"),
        ("interval: []", "interval: this list or mapping is not one text or number"),
        ("interval: {a: b}", "interval: this list or mapping is not one text or number"),
        ("pod-labels: [[a]]", "pod-labels: this list or mapping is not a text, a number or a list of those"),
        ("pod-labels: [null]", "pod-labels: this list or mapping is not a text, a number or a list of those"),
    ],
)
def test_a_value_of_another_shape_is_refused(file: str, expected: str) -> None:
    """Nothing, a list where one value belongs, and what is nested are refused by name."""
    assert refusal(file) == f"--config file, {expected}"


def test_a_key_twice_is_refused() -> None:
    """Of two values for one key neither can be the one that was meant."""
    assert refusal("interval: 1s\ninterval: 2s") == "the --config file has the key interval twice"


def test_pod_labels_that_prometheus_spells_the_same_are_refused() -> None:
    """Two keys that would both become the same Prometheus label are refused, naming all three."""
    assert refusal(flags={"pod-labels": ["a.b/c", "a-b/c"]}) == (
        "--pod-labels: a.b/c and a-b/c would both be published as label_a_b_c"
    )


def test_a_pod_label_given_twice_is_no_collision() -> None:
    """The same key twice collides with nothing but itself."""
    assert set(resolve(flags={"pod-labels": ["app", "app"]}).pod_labels) == {"app"}


def gives_settings_or_a_sentence(call: Callable[[], NodeSettings]) -> None:
    """Call, and let nothing but a one-line ConfigError out."""
    try:
        sentence = repr(call())
    except ConfigError as error:
        sentence = str(error)
    assert sentence.splitlines() == [sentence]


@given(name=st.sampled_from(NAMES), text=st.text() | st.text("0123456789.:[]smh,/-a"))
@example(name="listen", text="\ud800:1")
@example(name="listen", text="[]:1")
@example(name="pod-labels", text=",")
def test_any_text_for_any_setting_gives_a_value_or_a_sentence(name: str, text: str) -> None:
    """Whatever is typed, as flag or variable, ends as a value or as one ConfigError."""
    gives_settings_or_a_sentence(lambda: resolve(flags={name: [text]}))
    gives_settings_or_a_sentence(lambda: resolve(environment={BY_NAME[name].variable: text}))


@given(st.text() | st.text("abc:-[]{}&*!|>'\"%@`#,? \n\t~<=\\").map(lambda text: f"interval: {text}"))
@example("interval: !!int ''")
@example("interval: 2001-99-99")
@example("interval: " + "9" * 5000)
@example("<<: {interval: 1s}")
def test_any_file_gives_settings_or_a_sentence(file: str) -> None:
    """Whatever a file holds ends as settings or as one ConfigError."""
    gives_settings_or_a_sentence(lambda: resolve(file))


# ---------------------------------------------------------------- the quota role

NAMES_FILE = "resourceMemoryName: nvidia.com/vram\nmemoryFactor: 1024\n"


def of_quota(
    file: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
    names: str = NAMES_FILE,
) -> QuotaSettings:
    """Resolve the settings of the quota role; `names` is what stands in any file of resource names."""
    return quota_settings(flags or {}, environment or {}, file, lambda _: names)


def test_the_quota_roles_defaults_are_the_documented_ones() -> None:
    """With nothing at all every setting of the quota role has its default; node's variables mean nothing to it."""
    assert of_quota(environment={"NODE_NAME": "A B", "VGPU_EXPORTER_INTERVAL": "never"}) == QuotaSettings(
        listen=(Address("0.0.0.0", 9836),),  # noqa: S104  the documented default
        health_listen=(Address("0.0.0.0", 9837),),  # noqa: S104  the documented default
        kubeconfig=None,
        tenant_label=None,
        device_config=DeviceConfig(),
        hami_config=None,
        web_config=None,
        log_format="text",
        log_level="info",
    )


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        ("tenant-label", "example.com/team", "tenant_label", "example.com/team"),
        ("memory-factor", "1024", "device_config", DeviceConfig(memory_factor=1024)),
        ("resource-names", "a.yaml", "device_config", DeviceConfig(memory="nvidia.com/vram", memory_factor=1024)),
        ("hami-config", "kube-system/hami-scheduler-device", "hami_config", ("kube-system", "hami-scheduler-device")),
        ("kubeconfig", "/k", "kubeconfig", "/k"),
    ],
)
def test_a_setting_of_the_quota_role_comes_from_anywhere(name: str, text: str, field: str, expected: object) -> None:
    """Flag, variable and file say the same thing in the same words."""
    [setting] = (setting for setting in QUOTA if setting.name == name)
    for settings in (
        of_quota(flags={name: [text]}),
        of_quota(environment={setting.variable: text}),
        of_quota(f"{name}: {text}"),
    ):
        assert getattr(settings, field) == expected


def test_a_flag_wins_over_the_file_of_names() -> None:
    """The factor of the flag counts, and of the file what the flags leave open."""
    settings = of_quota(flags={"memory-factor": ["2"], "resource-names": ["a.yaml"]})

    assert settings.device_config == DeviceConfig(memory="nvidia.com/vram", memory_factor=2)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory-factor", "0", "a whole number from 1 to 2147483647"),
        ("memory-factor", "1.5", "a whole number from 1 to"),
        ("memory-factor", "2147483648", "a whole number from 1 to"),
        ("hami-config", "hami", "NAMESPACE/NAME of a ConfigMap"),
        ("hami-config", "a/b/c", "NAMESPACE/NAME of a ConfigMap"),
        ("hami-config", "A/b", "NAMESPACE/NAME of a ConfigMap"),
        ("tenant-label", "", "a Kubernetes label key"),
        ("resource-names", "", "a path"),
    ],
)
def test_a_bad_value_of_the_quota_role_is_named(name: str, text: str, expected: str) -> None:
    """What cannot be used is refused by its name, with what was expected."""
    with pytest.raises(ConfigError) as caught:
        of_quota(flags={name: [text]})

    assert str(caught.value).startswith(f"--{name}: {shorten(text)} is not {expected}")


def test_a_file_of_names_that_says_nothing_is_refused() -> None:
    """A file that is no device-config.yaml is named with what is wrong, in one line."""
    with pytest.raises(ConfigError, match=r"^--resource-names: a\.yaml is not a device-config\.yaml: it has none of "):
        of_quota(flags={"resource-names": ["a.yaml"]}, names="hello: world")


def test_a_quota_role_that_listens_nowhere_is_refused() -> None:
    """An empty --listen is refused here, too; a setting of the other role is unknown."""
    with pytest.raises(ConfigError, match="--listen is empty"):
        of_quota(flags={"listen": [""]})
    with pytest.raises(ConfigError, match="unknown key 'interval'; keys are listen, health-listen, kubeconfig, tenant"):
        of_quota("interval: 1s")
