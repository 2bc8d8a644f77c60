{{/* The configuration of a replica. Call with (dict "root" $ "ordinal" 0). That of a founder is the same whatever
     other replicas come and go, so that those do not restart it. */}}
{{- define "homeport.storeFile" -}}
{{- $root := .root -}}
{{- $ordinal := .ordinal -}}
{{- $values := .root.Values -}}
{{- $founders := int (include "homeport.founders" .root) -}}
node_id = {{ include "homeport.nodeId" . }}
cluster_name = {{ $values.store.clusterName | quote }}
data_dir = "/var/lib/homeport"
listen = "{{ $values.bindAddress }}:7101"

[peers]
{{- if and (lt $ordinal $founders) (not (hasKey $values.store.nodeIds (toString $ordinal))) }}
{{- range $peer := until $founders }}
{{ add1 $peer }} = "{{ include "homeport.storeHost" (dict "root" $root "ordinal" $peer) }}:7101"
{{- end }}
{{- else }}
# Without itself: it waits until it is made a member.
{{- range $peer := until (int $values.store.replicas) }}
{{- if ne $peer $ordinal }}
{{- $other := dict "root" $root "ordinal" $peer }}
{{ include "homeport.nodeId" $other }} = "{{ include "homeport.storeHost" $other }}:7101"
{{- end }}
{{- end }}
{{- end }}

[raft]
heartbeat_ms = {{ int $values.store.raft.heartbeatMs }}
election_timeout_min_ms = {{ int $values.store.raft.electionTimeoutMinMs }}
election_timeout_max_ms = {{ int $values.store.raft.electionTimeoutMaxMs }}
{{- if $values.store.adminTokensSecret }}

[admin]
tokens_file = "/etc/homeport-admin/tokens.toml"
{{- end }}

{{- with include "homeport.tls" $root }}

{{ . }}
{{- end }}

{{ include "homeport.telemetry" $root }}

[ops]
listen = "{{ $values.bindAddress }}:9101"
{{- end -}}
