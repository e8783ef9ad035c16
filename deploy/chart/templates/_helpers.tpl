{{- define "nextclick.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{/* Labels of one part; call with (dict "root" $ "part" "worker"). */}}
{{- define "nextclick.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "nextclick.labels" -}}
{{ include "nextclick.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "nextclick.podLabels" -}}
{{ include "nextclick.selector" . }}
{{- with .root.Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nextclick.podAnnotations" -}}
checksum/settings: {{ include (print .root.Template.BasePath "/settings.yaml") .root | sha256sum }}
{{- if not .root.Values.metrics.podMonitor.enabled }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .root.Values.metrics.port | quote }}
{{- end }}
{{- with .root.Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nextclick.image" -}}
{{ printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}

{{- define "nextclick.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "nextclick.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "nextclick.bootstrap" -}}
{{- if .Values.kafka.bootstrapServers -}}{{ .Values.kafka.bootstrapServers }}
{{- else if .Values.kafka.strimzi.cluster -}}{{ printf "%s-kafka-bootstrap:%d" .Values.kafka.strimzi.cluster (int .Values.kafka.strimzi.port) }}
{{- else -}}{{ fail "kafka.bootstrapServers or kafka.strimzi.cluster must say where Kafka is" }}{{- end -}}
{{- end }}

{{- define "nextclick.releasesClaim" -}}
{{ .Values.releases.pvc.existingClaim | default (printf "%s-releases" (include "nextclick.name" .)) }}
{{- end }}

{{/* How to talk to Kafka and to S3, as files: a list of {name, secret, items: {key: file}}, mounted at /secrets/name. */}}
{{- define "nextclick.secrets" -}}
{{- $kafka := .Values.kafka -}}
{{- if $kafka.strimzi.cluster }}
- {name: kafka-user, secret: {{ include "nextclick.name" . }}, items: {password: password}}
- {name: kafka-ca, secret: {{ $kafka.strimzi.cluster }}-cluster-ca-cert, items: {ca.crt: ca.crt}}
{{- else }}
{{- with $kafka.sasl.passwordSecret }}{{ if .name }}
- {name: kafka-user, secret: {{ .name }}, items: { {{ .key | quote }}: password}}
{{- end }}{{ end }}
{{- with $kafka.tls.caSecret }}{{ if .name }}
- {name: kafka-ca, secret: {{ .name }}, items: { {{ .key | quote }}: ca.crt}}
{{- end }}{{ end }}
{{- with $kafka.tls.clientSecret }}{{ if .name }}
- name: kafka-client
  secret: {{ .name }}
  items:
    {{ .certificate | quote }}: tls.crt
    {{ .key | quote }}: tls.key
    {{- if .passwordKey }}
    {{ .passwordKey | quote }}: password
    {{- end }}
{{- end }}{{ end }}
{{- end }}
{{- if eq .Values.releases.kind "s3" }}{{ with .Values.releases.s3.credentialsSecret }}{{ if .name }}
- {name: s3, secret: {{ .name }}, items: { {{ .key | quote }}: credentials}}
{{- end }}{{ end }}{{ end }}
{{- end }}

{{- define "nextclick.volumes" -}}
{{- range include "nextclick.secrets" . | fromYamlArray }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 288 # 0440: this user's group and nobody else
    items:
      {{- range $key, $file := .items }}
      - {key: {{ $key | quote }}, path: {{ $file }}}
      {{- end }}
{{- end }}
{{- if eq .Values.releases.kind "pvc" }}
- name: releases
  persistentVolumeClaim: {claimName: {{ include "nextclick.releasesClaim" . }}}
{{- end }}
{{- end }}

{{/* call with (dict "root" $ "writes" true): the learner alone writes releases. */}}
{{- define "nextclick.mounts" -}}
- {name: data, mountPath: /data}
{{- range include "nextclick.secrets" .root | fromYamlArray }}
- {name: secret-{{ .name }}, mountPath: /secrets/{{ .name }}, readOnly: true}
{{- end }}
{{- if eq .root.Values.releases.kind "pvc" }}
- {name: releases, mountPath: /releases, readOnly: {{ not .writes }}}
{{- end }}
{{- end }}

{{- define "nextclick.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "nextclick.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What every pod has beside its containers; call with (dict "root" $ "part" "worker" "values" .Values.worker). */}}
{{- define "nextclick.pod" -}}
serviceAccountName: {{ include "nextclick.serviceAccount" .root | trim }}
automountServiceAccountToken: false
# A service called nextclick-api would set NEXTCLICK_API_PORT to an address.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "nextclick.podSecurity" . | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "nextclick.selector" . | nindent 8 }}
{{- end }}

{{/* A probe that runs the image's own check. */}}
{{- define "nextclick.ready" -}}
exec: {command: [python3, /usr/local/bin/healthy.py, --ready]}
periodSeconds: 10
timeoutSeconds: 5
failureThreshold: 3
{{- end }}
