{{/* Names, labels and addresses that several templates must agree on. */}}

{{- define "homeport.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Selectors never change, so no version is in them. Call with (dict "root" $ "part" "store"). */}}
{{- define "homeport.selector" -}}
app.kubernetes.io/name: homeport
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "homeport.labels" -}}
{{ include "homeport.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: homeport
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "homeport.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "homeport.serviceAccount" -}}
{{- default (include "homeport.name" .) .Values.serviceAccount.existing -}}
{{- end -}}

{{/* The full DNS name of a replica. Call with (dict "root" $ "ordinal" 0). */}}
{{- define "homeport.storeHost" -}}
{{- $name := include "homeport.name" .root -}}
{{ $name }}-store-{{ .ordinal }}.{{ $name }}-store-peers.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}

{{/* Every replica's address, as the items of a TOML list. */}}
{{- define "homeport.storeList" -}}
{{- range $ordinal := until (int .Values.store.replicas) -}}
{{- if $ordinal }}
{{ end -}}
"{{ include "homeport.storeHost" (dict "root" $ "ordinal" $ordinal) }}:7101",
{{- end -}}
{{- end -}}

{{- define "homeport.telemetry" -}}
[telemetry]
log = {{ .Values.telemetry.log | quote }}
format = {{ .Values.telemetry.format | quote }}
{{- with .Values.telemetry.otlpEndpoint }}
otlp_endpoint = {{ . | quote }}
traces_per_second_max = {{ int $.Values.telemetry.tracesPerSecondMax }}
{{- end }}
{{- end -}}
