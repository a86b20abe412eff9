{{/*
Complete .Values before anything reads them, and refuse what contradicts itself; every template begins with this.

`helm upgrade --reuse-values` hands a newer chart the values of an older one, in which whole subtrees may be missing: they
are filled in from files/defaults.yaml, a copy of values.yaml (Helm does not give a chart its own values.yaml to read).
*/}}
{{- define "vgpu.values" -}}
{{- include "vgpu.fill" (dict "values" .Values "defaults" (.Files.Get "files/defaults.yaml" | fromYaml)) -}}
{{- include "vgpu.check" . -}}
{{- end -}}

{{/*
Fill in what `values` lacks of `defaults`. Maps that Kubernetes defines are taken whole: a key that is missing there was
dropped on purpose.
*/}}
{{- define "vgpu.fill" -}}
{{- $whole := list "affinity" "instanceSelector" "nodeSelector" "podSecurityContext" "resources" "securityContext" "updateStrategy" -}}
{{- range $key, $default := .defaults -}}
{{- if not (hasKey $.values $key) -}}
{{- $_ := set $.values $key (deepCopy $default) -}}
{{- else if and (kindIs "map" $default) (not (has $key $whole)) -}}
{{- include "vgpu.fill" (dict "values" (index $.values $key) "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "vgpu.check" -}}
{{- $name := include "vgpu.fullname" . -}}
{{- if and .Values.service.enabled (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "%s: Kubernetes wants a Service's name to begin with a letter and to have no dots: set fullnameOverride" $name) -}}
{{- end -}}
{{- with .Values -}}
{{- if gt (len (compact (list .podMonitor.enabled .serviceMonitor.enabled .scrapeAnnotations))) 1 -}}
{{- fail "podMonitor.enabled, serviceMonitor.enabled, scrapeAnnotations: switch on one of them, or every exporter is scraped twice" -}}
{{- end -}}
{{- if and .serviceMonitor.enabled (not .service.enabled) -}}
{{- fail "serviceMonitor.enabled needs service.enabled: it finds the pods by their Services" -}}
{{- end -}}
{{- if and .webConfig.existingSecret .webConfig.content -}}
{{- fail "webConfig.existingSecret and webConfig.content: give one of them" -}}
{{- end -}}
{{- if and .webConfig.tlsSecret (not .webConfig.existingSecret) (not .webConfig.content) -}}
{{- fail "webConfig.tlsSecret alone serves no TLS: let webConfig.content.tls_server_config name its files tls.crt and tls.key" -}}
{{- end -}}
{{- if and .dashboards.grafanaOperator.enabled (not .dashboards.enabled) -}}
{{- fail "dashboards.grafanaOperator.enabled needs dashboards.enabled: a GrafanaDashboard refers to the ConfigMap" -}}
{{- end -}}
{{- end -}}
{{- end -}}
