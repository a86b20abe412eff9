{{/* Names and labels. Templates of both roles take a dict: `root` is the chart's context, `role` is node or quota. */}}

{{- define "vgpu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The node role's objects; short enough for the longest of the others' suffixes within 63 characters. */}}
{{- define "vgpu.fullname" -}}
{{- $name := include "vgpu.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- define "vgpu.roleName" -}}
{{- include "vgpu.fullname" .root }}{{ if eq .role "quota" }}-quota{{ end -}}
{{- end -}}

{{/* The release's namespace, or the one that a value asks for. */}}
{{- define "vgpu.namespace" -}}
{{- default .root.Release.Namespace .namespace -}}
{{- end -}}

{{/* The roles that run, as a list. */}}
{{- define "vgpu.roles" -}}
{{- $roles := list -}}
{{- if .Values.node.enabled }}{{ $roles = append $roles "node" }}{{ end -}}
{{- if .Values.quota.enabled }}{{ $roles = append $roles "quota" }}{{ end -}}
{{- toJson $roles -}}
{{- end -}}

{{- define "vgpu.releaseLabels" -}}
app.kubernetes.io/name: {{ include "vgpu.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "vgpu.selectorLabels" -}}
{{ include "vgpu.releaseLabels" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{/* Labels of an object; `role` may be anything that it is for. */}}
{{- define "vgpu.labels" -}}
{{- $ours := include "vgpu.selectorLabels" . | fromYaml -}}
{{- $_ := set $ours "app.kubernetes.io/version" (.root.Chart.AppVersion | trunc 63) -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- mergeOverwrite (dict) (default (dict) .extra) .root.Values.commonLabels $ours | toYaml -}}
{{- end -}}

{{/* Labels of a role's pods. HAMi's webhook must leave them alone: with its library inside every figure would be virtual. */}}
{{- define "vgpu.podLabels" -}}
{{- $ours := include "vgpu.selectorLabels" . | fromYaml -}}
{{- $_ := set $ours "hami.io/webhook" "ignore" -}}
{{- mergeOverwrite (dict) .root.Values.commonLabels .root.Values.podLabels $ours | toYaml -}}
{{- end -}}

{{- define "vgpu.serviceAccountName" -}}
{{- $given := ternary .root.Values.serviceAccount.name .root.Values.quota.serviceAccountName (eq .role "node") -}}
{{- default (ternary (include "vgpu.roleName" .) "default" .root.Values.serviceAccount.create) $given -}}
{{- end -}}

{{- define "vgpu.image" -}}
{{- with .Values.image -}}
{{- $registry := default .registry $.Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end -}}
