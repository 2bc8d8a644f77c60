{{/* Mutual TLS: one certificate for each role, in a Secret as cert-manager writes them. */}}

{{/* Of a configuration. Call with the root. */}}
{{- define "homeport.tls" -}}
{{- if ne .Values.tls.mode "none" -}}
[tls]
certificate_file = "/etc/homeport-tls/tls.crt"
key_file = "/etc/homeport-tls/tls.key"
ca_file = "/etc/homeport-tls/ca.crt"
trust_domain = {{ .Values.tls.trustDomain | quote }}
{{- end }}
{{- end -}}

{{/* The Secret of a role. Call with (dict "root" $ "role" "store"). */}}
{{- define "homeport.tlsSecret" -}}
{{- if eq .root.Values.tls.mode "secret" -}}
{{- required (printf "tls.secrets.%s: tls.mode is secret, so it needs a name" .role) (get .root.Values.tls.secrets .role) -}}
{{- else -}}
{{ include "homeport.name" .root }}-{{ .role | lower }}-tls
{{- end -}}
{{- end -}}

{{- define "homeport.tlsMount" -}}
{{- if ne .Values.tls.mode "none" -}}
- {name: tls, mountPath: /etc/homeport-tls, readOnly: true}
{{- end -}}
{{- end -}}

{{/* Call with (dict "root" $ "role" "store"). */}}
{{- define "homeport.tlsVolume" -}}
{{- if ne .root.Values.tls.mode "none" -}}
- name: tls
  secret:
    secretName: {{ include "homeport.tlsSecret" . }}
{{- end -}}
{{- end -}}
