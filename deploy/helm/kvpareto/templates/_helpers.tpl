{{- define "kvpareto.name" -}}
{{- if contains "kvpareto" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-kvpareto" .Release.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "kvpareto.selector" -}}
app.kubernetes.io/name: kvpareto
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "kvpareto.labels" -}}
{{ include "kvpareto.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "kvpareto.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}

{{- define "kvpareto.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "kvpareto.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "kvpareto.modelsVolume" -}}
name: models
{{- if .Values.models.image }}
emptyDir: {sizeLimit: {{ .Values.models.size }}}
{{- else }}
persistentVolumeClaim:
  claimName: {{ .Values.models.existingClaim | default (printf "%s-models" (include "kvpareto.name" .)) }}
  readOnly: true
{{- end }}
{{- end -}}
