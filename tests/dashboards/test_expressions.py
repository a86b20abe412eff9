"""Labels that come out of an expression."""

from __future__ import annotations

import pytest

from tests.dashboards.expressions import labels, parsed


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("vgpu_device_up", {"cluster", "job", "instance", "node", "device_uuid"}),
        ("sum(vgpu_device_up)", set()),
        ("sum by (node, pod) (vgpu_device_up)", {"node"}),
        ("sum without (job, instance) (vgpu_device_up)", {"cluster", "node", "device_uuid"}),
        ("topk by (node) (1, sum by (node) (vgpu_device_up))", {"node"}),
        ("sum by (node) (vgpu_device_up) * 2", {"node"}),
        ("sum by (node) (vgpu_device_up) > bool sum(vgpu_device_up)", {"node"}),
        ("vgpu_device_up * on (node) vgpu_device_up", {"node"}),
        ("sum by (node) (vgpu_device_up) * on (node) group_left (xid) vgpu_device_xid_errors_total", {"node", "xid"}),
        ("sum by (node) (vgpu_device_up) and on () vgpu_device_info", {"node"}),
        ("sum by (node) (vgpu_device_up) or sum by (job) (up)", {"node", "job"}),
        ('label_replace(sum by (node) (vgpu_device_up), "host", "$1", "node", "(.*)")', {"node", "host"}),
        ("namespace:vgpu_tenant:info", {"cluster", "namespace", "tenant"}),
        ("histogram_quantile(0.9, sum by (le, pod) (rate(vllm:time_to_first_token_seconds_bucket[5m])))", {"pod"}),
        ("vector(time())", set()),
    ],
)  # fmt: skip
def test_labels_that_survive(expression: str, expected: set[str]) -> None:
    """As Prometheus works them out."""
    assert labels(parsed(expression)) == expected
