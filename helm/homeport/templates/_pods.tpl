{{/* What the pods have in common. */}}

{{/* Labels of a pod. Call with (dict "root" $ "part" "store"). */}}
{{- define "homeport.podLabels" -}}
{{ include "homeport.labels" . }}
{{- with .root.Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Nothing here talks to Kubernetes. Service links would put HOMEPORT_* variables into the environment,
     which the processes read as configuration. */}}
{{- define "homeport.podBase" -}}
serviceAccountName: {{ include "homeport.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 30
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
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
{{- /* Configuration is read once, at the start: a change restarts the pods. */}}
{{- if eq .part "store" }}
checksum/config: {{ include "homeport.storeFile" (dict "root" .root "ordinal" 0) | sha256sum }}
{{- else }}
checksum/config: {{ include (print .root.Template.BasePath "/" .part "-config.yaml") .root | sha256sum }}
{{- end }}
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
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What a forwarder has of its host, and what is looked at before it with the same means. */}}
{{- define "homeport.forwarderHost" -}}
image: {{ include "homeport.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  # In quotes, else a host that is called 42 gives a number.
  - name: HOMEPORT_NAME
    value: '"$(NODE_NAME)"'
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    add: [NET_ADMIN{{ if .Values.forwarder.xdp.interfaces }}, BPF, PERFMON{{ end }}]
resources:
  {{- toYaml .Values.forwarder.resources | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/homeport, readOnly: true}
  {{- with include "homeport.tlsMount" . }}
  {{- . | nindent 2 }}
  {{- end }}
  - {name: tun, mountPath: /dev/net/tun}
  {{- if .Values.forwarder.xdp.interfaces }}
  # Not below /sys/fs, where the usual AppArmor profile of containers denies writing.
  - {name: bpf, mountPath: /run/homeport-bpf}
  {{- end }}
{{- end -}}

{{/* A pod that runs homeportctl once. Call with (dict "root" $ "part" "upgrade" "placement" .Values.jobs), then name the
     containers. */}}
{{- define "homeport.jobBase" -}}
{{- include "homeport.podBase" .root }}
restartPolicy: Never
securityContext:
  {{- include "homeport.podSecurity" .root | nindent 2 }}
{{- with include "homeport.placement" .placement }}
{{- . | trim | nindent 0 }}
{{- end }}
{{- end -}}

{{/* What a container with homeportctl has. Call with (dict "root" $), and "backup" true where it writes to that volume. */}}
{{- define "homeport.ctl" -}}
{{- $token := .root.Values.jobs.tokenSecret -}}
{{- $tls := ne .root.Values.tls.mode "none" -}}
{{- if and .root.Values.store.adminTokensSecret (not $token) }}
{{- fail "jobs.tokenSecret: store.adminTokensSecret is set, so homeportctl needs a token" }}
{{- end -}}
image: {{ include "homeport.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [/usr/bin/homeportctl]
env:
  - {name: HOMEPORT_ENDPOINTS, value: {{ include "homeport.endpoints" .root | quote }}}
  {{- if $token }}
  - {name: HOMEPORT_TOKEN_FILE, value: /etc/homeport-token/token}
  {{- end }}
  {{- if $tls }}
  - {name: HOMEPORT_TLS_CA, value: /etc/homeport-tls/ca.crt}
  - {name: HOMEPORT_TLS_CERT, value: /etc/homeport-tls/tls.crt}
  - {name: HOMEPORT_TLS_KEY, value: /etc/homeport-tls/tls.key}
  {{- end }}
  {{- if .backup }}
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
securityContext:
  {{- include "homeport.containerSecurity" .root | nindent 2 }}
resources:
  {{- toYaml .root.Values.jobs.resources | nindent 2 }}
{{- if or $token $tls .backup }}
volumeMounts:
  {{- if $token }}
  - {name: token, mountPath: /etc/homeport-token, readOnly: true}
  {{- end }}
  {{- with include "homeport.tlsMount" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if .backup }}
  - {name: backup, mountPath: /backup}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Its volumes. Call with (dict "root" $), and "backup" the name of a claim. */}}
{{- define "homeport.ctlVolumes" -}}
{{- $token := .root.Values.jobs.tokenSecret -}}
{{- $tls := ne .root.Values.tls.mode "none" -}}
{{- if or $token $tls .backup }}
volumes:
  {{- with $token }}
  - name: token
    secret:
      secretName: {{ . }}
  {{- end }}
  {{- with include "homeport.tlsVolume" (dict "root" .root "role" "operator") }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .backup }}
  - name: backup
    persistentVolumeClaim:
      claimName: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}
