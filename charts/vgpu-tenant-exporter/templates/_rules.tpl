{{/*
The groups of rules as a JSON list, made of files/rules.yaml and the values; no group without rules.

The file is data, its own templates for Prometheus are no templates here. Thresholds go through toJson, which writes them
as PromQL does.
*/}}
{{- define "vgpu.ruleGroups" -}}
{{- $data := .Files.Get "files/rules.yaml" | fromYaml -}}
{{- $groups := list -}}
{{- range $group := $data.groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- if $rule.record -}}
{{- if $.Values.prometheusRule.recordingRules }}{{ $rules = append $rules $rule }}{{ end -}}
{{- else -}}
{{- $settings := mergeOverwrite (dict) (index $data.alerts $rule.alert) (default (dict) (index $.Values.prometheusRule.rules $rule.alert)) -}}
{{- if $settings.enabled -}}
{{- $rules = append $rules (include "vgpu.alert" (dict "root" $ "rule" $rule "settings" $settings) | fromJson) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $rules }}{{ $groups = append $groups (set $group "rules" $rules) }}{{ end -}}
{{- end -}}
{{- concat $groups .Values.prometheusRule.extraGroups | toJson -}}
{{- end -}}

{{/*
One alert. What is about a GPU or an exporter has no tenant's namespace: it gets the release's, by which an
AlertmanagerConfig there can route it.
*/}}
{{- define "vgpu.alert" -}}
{{- $values := .root.Values.prometheusRule -}}
{{- $alert := deepCopy .rule -}}
{{- if hasKey .settings "threshold" -}}
{{- $_ := set $alert "expr" (replace "$threshold" (toJson .settings.threshold) .rule.expr) -}}
{{- end -}}
{{- with .settings.for }}{{ $_ := set $alert "for" . }}{{ end -}}
{{- $labels := mergeOverwrite (dict) $values.alertLabels .rule.labels (dict "severity" .settings.severity) -}}
{{- if ne .rule.labels.scope "tenant" }}{{ $_ := set $labels "namespace" .root.Release.Namespace }}{{ end -}}
{{- $_ := set $alert "labels" (mergeOverwrite $labels (default (dict) .settings.labels)) -}}
{{- $_ := set $alert.annotations "runbook_url" (print $values.runbookUrl .rule.annotations.runbook_url) -}}
{{- $_ := set $alert.annotations "dashboard_url" (print (trimSuffix "/" $values.grafanaUrl) .rule.annotations.dashboard_url) -}}
{{- toJson $alert -}}
{{- end -}}
