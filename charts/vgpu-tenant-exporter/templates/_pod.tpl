{{/* What the pods of both roles have in common. */}}

{{- define "vgpu.podAnnotations" -}}
{{- $annotations := dict -}}
{{- with .root.Values -}}
{{- if .scrapeAnnotations -}}
{{- $_ := set $annotations "prometheus.io/scrape" "true" -}}
{{- $_ := set $annotations "prometheus.io/port" "9836" -}}
{{- $_ := set $annotations "prometheus.io/path" "/metrics" -}}
{{- $_ := set $annotations "prometheus.io/scheme" (include "vgpu.scheme" (dict "root" $.root "scheme" "")) -}}
{{- end -}}
{{- if and (eq $.role "node") (eq .gpuAccess "cdi") -}}
{{- $_ := set $annotations "cdi.k8s.io/vgpu-tenant-exporter" .cdi.device -}}
{{- $_ := set $annotations "nvidia.cdi.k8s.io/container.exporter" .cdi.device -}}
{{- end -}}
{{- with mergeOverwrite $annotations .podAnnotations }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Everything of a pod's spec that is no container, no volume and no privilege. */}}
{{- define "vgpu.podSettings" -}}
serviceAccountName: {{ include "vgpu.serviceAccountName" . | quote }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: 10
{{- with concat .root.Values.imagePullSecrets (default (list) .root.Values.global.imagePullSecrets) }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
nodeSelector:
  {{- merge (dict "kubernetes.io/os" "linux") .settings.nodeSelector | toYaml | nindent 2 }}
{{- with .settings.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The settings, `own` being the role's: as environment, so that `kubectl exec … vgpu-exporter doctor` checks them, too. */}}
{{- define "vgpu.environment" -}}
{{- $values := .root.Values -}}
{{- $all := dict "LISTEN" (list) "HEALTH_LISTEN" (list) "LOG_FORMAT" $values.log.format "LOG_LEVEL" $values.log.level -}}
{{- range $values.listenAddresses -}}
{{- $_ := set $all "LISTEN" (append $all.LISTEN (printf "%s:9836" .)) -}}
{{- $_ := set $all "HEALTH_LISTEN" (append $all.HEALTH_LISTEN (printf "%s:9837" .)) -}}
{{- end -}}
{{- if include "vgpu.webSecret" .root -}}
{{- $_ := set $all "WEB_CONFIG" (printf "/etc/vgpu-exporter/web/%s" $values.webConfig.key) -}}
{{- end -}}
{{- range $name, $value := merge $all .own }}
- name: VGPU_EXPORTER_{{ $name }}
  value: {{ kindIs "slice" $value | ternary (join "," $value) $value | quote }}
{{- end }}
{{- end -}}

{{/* The container but for its security context, environment and mounts. */}}
{{- define "vgpu.container" -}}
name: exporter
image: {{ include "vgpu.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  - {{ .role }}
  {{- range .settings.extraArgs }}
  - {{ . | quote }}
  {{- end }}
ports:
  - name: metrics
    containerPort: 9836
    protocol: TCP
  - name: health
    containerPort: 9837
    protocol: TCP
{{- /* /healthz asks neither GPU nor API server: a node without a driver must not stall a rollout. */}}
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
{{- with .settings.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The Secret with the web configuration; empty if there is none. */}}
{{- define "vgpu.webSecret" -}}
{{- if .Values.webConfig.existingSecret -}}
{{ .Values.webConfig.existingSecret }}
{{- else if .Values.webConfig.content -}}
{{ include "vgpu.fullname" . }}-web-config
{{- end -}}
{{- end -}}

{{- define "vgpu.webMount" -}}
- name: web-config
  mountPath: /etc/vgpu-exporter/web
  readOnly: true
{{- end -}}

{{/* Both Secrets in one directory, as the web configuration names its files beside itself. */}}
{{- define "vgpu.webVolume" -}}
- name: web-config
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "vgpu.webSecret" . | quote }}
      {{- with .Values.webConfig.tlsSecret }}
      - secret:
          name: {{ . | quote }}
      {{- end }}
{{- end -}}

{{/* How the endpoint is asked: `scheme` if it is set, else what the web configuration says. */}}
{{- define "vgpu.scheme" -}}
{{- $tls := or .root.Values.webConfig.existingSecret .root.Values.webConfig.content.tls_server_config -}}
{{- default (ternary "https" "http" (not (empty $tls))) .scheme -}}
{{- end -}}
