{{/* What the pods have in common. */}}

{{/* Nothing here talks to Kubernetes. Service links would put HOMEPORT_* variables into the environment,
     which the processes read as configuration. */}}
{{- define "homeport.podBase" -}}
serviceAccountName: {{ include "homeport.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 30
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "homeport.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "homeport.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Call with (dict "root" $ "part" "store"). */}}
{{- define "homeport.podAnnotations" -}}
{{- /* Configuration is read once, at the start: a change restarts the pods. */ -}}
checksum/config: {{ include (print .root.Template.BasePath "/" .part "-config.yaml") .root | sha256sum }}
{{- with .root.Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "homeport.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: ops}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: ops}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: /readyz, port: ops}
  periodSeconds: 3
  timeoutSeconds: 2
{{- end -}}

{{/* Call with (dict "root" $ "part" "store" "spread" .Values.store.spread). */}}
{{- define "homeport.spread" -}}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: {{ .spread.zone }}
    labelSelector:
      matchLabels:
        {{- include "homeport.selector" . | nindent 8 }}
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: {{ .spread.host }}
    labelSelector:
      matchLabels:
        {{- include "homeport.selector" . | nindent 8 }}
{{- end -}}

{{/* Call with a component's values. */}}
{{- define "homeport.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
