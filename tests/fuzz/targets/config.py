"""The settings' YAML file, variables and flags: exporter/config.py."""

from __future__ import annotations

from typing import Final

from exporter.config import NODE, NodeSettings, node_settings
from exporter.errors import ConfigError
from tests.fuzz.inputs import Choices, grown, seed, text
from tests.fuzz.promises import refused

MAX_LEN: Final = 2048
_LONGEST: Final = 8192  # there is no limit but that of depth: the file is the operator's own
EXAMPLES: Final = (
    "",
    "node-name: node-a\n",
    "listen: ['0.0.0.0:9836', '[::]:9836']\nhealth-listen: []\ninterval: 500ms\n",
    "procfs: /host/proc\nkubeconfig: /etc/kubeconfig\nno-kubernetes: yes\npods-max-age: 2h\n",
    "tenant-pod-label: example.com/tenant\npod-labels:\n  - app\n  - app.kubernetes.io/name\n",
    "log-format: json\nlog-level: debug\nhami-containers: /usr/local/vgpu/containers\n",
    "pod-labels: &a [app, *a]\n",
    "? [complex, key]\n: value\n--- \n...",
    "listen: !!binary aGVsbG8=\ninterval: 1.5\nnode-name: 0123\n",
    "%YAML 1.2\n---\nnode-name: |\n  node-b\n# end\n",
)
SEEDS: Final = (
    *(b"\0" + seed(example) for example in EXAMPLES),
    *(bytes([1 + 2 * number]) + seed(str(setting.default)) for number, setting in enumerate(NODE)),
    *(bytes([2 + 2 * number]) + seed("[::1]:80,app,a/b,") for number, _ in enumerate(NODE)),
    *(b"\0" + grown(example, end, 0xA7) for example, end in (("[", 0), ("{", 0), ("pod-labels: [a, a,", 3))),
)


def one_input(data: bytes) -> None:
    """Give a text as file, variable or flag."""
    choices = Choices(data)
    number, written = choices.number(1 + 2 * len(NODE)), text(choices.rest())[:_LONGEST]
    setting = NODE[(number - 1) // 2]
    flags = {setting.name: [written]} if number and number % 2 else {}
    environment = {setting.variable: written} if number and not number % 2 else {}
    try:
        _check(node_settings({"node-name": ["node-a"]} | flags, environment, None if number else written))
    except ConfigError as error:
        refused(error)


def _check(settings: NodeSettings) -> None:
    """Hold settings to what the program relies on."""
    assert settings.node_name
    assert settings.node_name.isascii()
    assert settings.listen
    assert all(0 <= address.port <= 65535 and address.host for address in settings.listen + settings.health_listen)
    assert 0.5 <= settings.interval <= 10
    assert settings.pods_max_age > 0
    assert all(key.isascii() and key.isprintable() for key in settings.pod_labels)
    assert settings.procfs
    assert settings.log_format in {"text", "json"}
