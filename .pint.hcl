# How pint judges the generated rules: offline (`pint --offline lint`), with no Prometheus to ask.
# .ci/run fails on anything that it says, information included.

parser {
  schema  = "prometheus"
  names   = "legacy" # Prometheus 2.x knows no other
  include = ["alerts/generated/(recording|alerts).yaml"]
}

check "promql/regexp" {
  smelly = false # jobs of ServiceMonitors are named `namespace/release-vgpu-tenant-exporter`: only a substring is ours
}

checks {
  # The accounts join with namespace:vgpu_tenant:info of the other group, which is evaluated twice as often: a
  # namespace's tenant hardly ever changes, and what was known in the last hour serves on.
  disabled = ["rule/dependency"]
}

rule {
  match {
    name = "VgpuQuotaExhaustionForecast"
  }

  # pint takes {exported_namespace=""} for a label that the series have, and so the next metric in a chain of `or` for
  # one that can never match. The cases in tests/rules show that it does.
  disable = ["promql/impossible"]
}

rule {
  match {
    kind = "alerting"
  }

  name "Vgpu[A-Z][A-Za-z]+" {
    severity = "bug"
    comment  = "docs/examples/alertmanager.yml tells our alerts by this prefix."
  }

  label "severity" {
    severity = "bug"
    values   = ["critical", "warning", "info"]
    required = true
  }

  label "scope" {
    severity = "bug"
    values   = ["tenant", "device", "exporter"]
    required = true
  }

  annotation "summary" {
    severity = "bug"
    required = true
  }

  annotation "description" {
    severity = "bug"
    required = true
  }

  annotation "runbook_url" {
    severity = "bug"
    value    = "(.+/)?RUNBOOK.md#vgpu[a-z]+"
    required = true
  }
}

rule {
  match {
    kind = "recording"
  }

  name "[a-z_]+:vgpu_[a-z0-9_]+:[a-z0-9_]+" {
    severity = "bug"
    comment  = "level:metric:operations"
  }
}
