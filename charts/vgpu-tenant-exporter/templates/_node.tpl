{{/* What the node role's pod has beyond the other's: the GPU, the host's PIDs, HAMi's regions. */}}

{{/* privileged implies that privileges may be gained; Kubernetes refuses anything else. */}}
{{- define "vgpu.nodeSecurityContext" -}}
{{- $context := deepCopy .Values.securityContext -}}
{{- if .Values.mig.enabled -}}
{{- $capabilities := default (dict) $context.capabilities -}}
{{- $_ := set $capabilities "add" (append (default (list) $capabilities.add) "SYS_ADMIN" | uniq) -}}
{{- $_ := set $context "capabilities" $capabilities -}}
{{- end -}}
{{- if and (eq .Values.gpuAccess "hostDriver") .Values.hostDriver.privileged -}}
{{- $_ := set $context "privileged" true -}}
{{- $_ := set $context "allowPrivilegeEscalation" true -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{- define "vgpu.nodeSettings" -}}
{{- $own := dict "INTERVAL" .Values.interval "PODS_MAX_AGE" .Values.podsMaxAge -}}
{{- if not .Values.hamiPath }}{{ $_ := set $own "HAMI_CONTAINERS" "" }}{{ end -}}
{{- with .Values.tenantPodLabel }}{{ $_ := set $own "TENANT_POD_LABEL" . }}{{ end -}}
{{- with .Values.podLabelAllowList }}{{ $_ := set $own "POD_LABELS" . }}{{ end -}}
{{- toJson $own -}}
{{- end -}}

{{- define "vgpu.nodeEnv" -}}
{{- include "vgpu.environment" (dict "root" . "own" (include "vgpu.nodeSettings" . | fromJson)) | trim }}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- if has .Values.gpuAccess (list "env" "volumeMounts") }}
- name: NVIDIA_VISIBLE_DEVICES
  value: {{ ternary "all" "/var/run/nvidia-container-devices" (eq .Values.gpuAccess "env") }}
- name: NVIDIA_DRIVER_CAPABILITIES
  value: utility
{{- end }}
{{- if .Values.mig.enabled }}
- name: NVIDIA_MIG_MONITOR_DEVICES
  value: all
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The program looks for HAMi's regions and for the driver's library in places of its own: mounts bring them there. */}}
{{- define "vgpu.nodeMounts" -}}
{{- if .Values.hamiPath }}
- name: hami
  mountPath: /usr/local/vgpu
  readOnly: true
{{- end }}
{{- if eq .Values.gpuAccess "volumeMounts" }}
- name: all-gpus
  mountPath: /var/run/nvidia-container-devices/all
  readOnly: true
{{- else if eq .Values.gpuAccess "hostDriver" }}
- name: driver
  mountPath: /usr/local/nvidia/lib64
  readOnly: true
{{- end }}
{{- if include "vgpu.webSecret" . }}
{{ include "vgpu.webMount" . }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "vgpu.nodeVolumes" -}}
{{- with .Values.hamiPath }}
- name: hami
  hostPath:
    path: {{ . | quote }}
    type: DirectoryOrCreate
{{- end }}
{{- if eq .Values.gpuAccess "volumeMounts" }}
- name: all-gpus
  hostPath:
    path: /dev/null
    type: CharDevice
{{- else if eq .Values.gpuAccess "hostDriver" }}
- name: driver
  hostPath:
    path: {{ .Values.hostDriver.libraryDir | quote }}
    type: Directory
{{- end }}
{{- if include "vgpu.webSecret" . }}
{{ include "vgpu.webVolume" . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
