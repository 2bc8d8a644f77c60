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
{{- $image := .Values.image -}}
{{- with default $image.registry (.Values.global).imageRegistry }}{{ . }}/{{ end -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- end -}}

{{/* Where the forwarders are. */}}
{{- define "homeport.forwarderNamespace" -}}
{{- default .Release.Namespace .Values.forwarder.namespace.name -}}
{{- end -}}

{{- define "homeport.serviceAccount" -}}
{{- default (include "homeport.name" .) .Values.serviceAccount.existing -}}
{{- end -}}

{{/* The full DNS name of a replica. Call with (dict "root" $ "ordinal" 0). */}}
{{- define "homeport.storeHost" -}}
{{- $name := include "homeport.name" .root -}}
{{ $name }}-store-{{ .ordinal }}.{{ $name }}-store-peers.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}

{{/* How many replicas founded the cluster. */}}
{{- define "homeport.founders" -}}
{{- default .Values.store.replicas .Values.store.founders | int -}}
{{- end -}}

{{/* The id of a replica. Call with (dict "root" $ "ordinal" 0). */}}
{{- define "homeport.nodeId" -}}
{{- default (add1 .ordinal) (get .root.Values.store.nodeIds (toString .ordinal)) | int64 -}}
{{- end -}}

{{/* Addresses of replicas, as the items of a TOML list: of those that have always been there, so that a replica more
     restarts nobody. They name the leader to whoever asks. */}}
{{- define "homeport.storeList" -}}
{{- range $ordinal := until (min (int .Values.store.replicas) (int (include "homeport.founders" .)) | int) -}}
{{- if $ordinal }}
{{ end -}}
"{{ include "homeport.storeHost" (dict "root" $ "ordinal" $ordinal) }}:7101",
{{- end -}}
{{- end -}}

{{/* Addresses of all replicas, for homeportctl. */}}
{{- define "homeport.endpoints" -}}
{{- $root := . -}}
{{- $all := list -}}
{{- range $ordinal := until (int .Values.store.replicas) -}}
{{- $all = append $all (printf "%s:7101" (include "homeport.storeHost" (dict "root" $root "ordinal" $ordinal))) -}}
{{- end -}}
{{- join "," $all -}}
{{- end -}}

{{/* NODE=HOST:PORT of all replicas. */}}
{{- define "homeport.members" -}}
{{- $root := . -}}
{{- $all := list -}}
{{- range $ordinal := until (int .Values.store.replicas) -}}
{{- $one := dict "root" $root "ordinal" $ordinal -}}
{{- $all = append $all (printf "%s=%s:7101" (include "homeport.nodeId" $one) (include "homeport.storeHost" $one)) -}}
{{- end -}}
{{- join "," $all -}}
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
