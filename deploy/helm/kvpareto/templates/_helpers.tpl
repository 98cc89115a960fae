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

{{- /* The value `config`, with the files of the Secrets. */ -}}
{{- define "kvpareto.config" -}}
{{- $security := deepCopy (.Values.config.security | default dict) -}}
{{- if .Values.tls.secretName -}}
{{- $tls := dict "certificate" "/tls/tls.crt" "key" "/tls/tls.key" -}}
{{- if .Values.tls.mutual -}}{{- $_ := set $tls "client_ca" "/tls/ca.crt" -}}{{- end -}}
{{- $_ := set $security "tls" $tls -}}
{{- $_ := unset $security "insecure" -}}
{{- end -}}
{{- if .Values.identities.secretName -}}
{{- $_ := set $security "identities" "/identities/identities.yaml" -}}
{{- end -}}
{{- set (deepCopy .Values.config) "security" $security | toYaml -}}
{{- end -}}

{{- /* The kubelet's gRPC probes speak clear text only. */ -}}
{{- define "kvpareto.live" -}}
{{- if .Values.tls.secretName -}}
httpGet: {path: /livez, port: metrics}
{{- else -}}
grpc: {port: 50051}
{{- end -}}
{{- end -}}

{{- define "kvpareto.ready" -}}
{{- if .Values.tls.secretName -}}
httpGet: {path: /readyz, port: metrics}
{{- else -}}
grpc: {port: 50051, service: kvpareto.v1.InferenceService}
{{- end -}}
{{- end -}}
