{{/* What PodMonitor and ServiceMonitor share. A dict: `root`, `role`, and `monitor`, the one's values. */}}

{{/* Alerts know the exporters' targets by a job that contains this name. */}}
{{- define "vgpu.job" -}}
{{- $name := include "vgpu.fullname" . -}}
{{- $name }}{{ if not (contains "vgpu-tenant-exporter" $name) }}-vgpu-tenant-exporter{{ end -}}
{{- end -}}

{{- define "vgpu.monitorLabels" -}}
{{- include "vgpu.labels" (dict "root" .root "role" .role "extra" .monitor.labels) -}}
{{- end -}}

{{/*
One endpoint. honorLabels alone is not enough: Prometheus adds each label of the target that a sample lacks, so what is
about a GPU, or about the exporter, would carry the exporter's own namespace, pod and container. The target loses them.
A node's exporter is known by the node's name, whichever pod it is: its counters go on where they were. The quota role,
of which two pods overlap in a rollout, is known by its pod, and is of no node.
*/}}
{{- define "vgpu.endpoint" -}}
port: metrics
path: /metrics
scheme: {{ include "vgpu.scheme" (dict "root" .root "scheme" .monitor.scheme) }}
{{- with .monitor.interval }}
interval: {{ . | quote }}
{{- end }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . | quote }}
{{- end }}
honorLabels: {{ .monitor.honorLabels }}
{{- with .monitor.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
relabelings:
  - action: labeldrop
    regex: namespace|pod|container|service|endpoint
  - targetLabel: job
    replacement: {{ include "vgpu.job" .root }}
  {{- if eq .role "node" }}
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: node
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: instance
  {{- else }}
  - sourceLabels: [__meta_kubernetes_pod_name]
    targetLabel: instance
  {{- end }}
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or (not .monitor.honorLabels) .monitor.metricRelabelings }}
metricRelabelings:
  {{- if not .monitor.honorLabels }}
  {{- /* The exporter's own `node` is the same, and was moved aside. */}}
  - sourceLabels: [exported_node]
    regex: (.+)
    targetLabel: node
  - action: labeldrop
    regex: exported_node
  {{- end }}
  {{- with .monitor.metricRelabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}
