{{/*
What the pods of both architectures have in common. Every template takes a dict: `root` is the chart's context, `values` the
values of the node (`master` or `replica`), `component` its label.
*/}}

{{- define "redis.podTemplate.metadata" -}}
labels: {{- include "redis.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # Redis reads its files only when it starts.
  {{- range $name, $file := dict "configmap" "configuration" "health" "health" "scripts" "scripts" }}
  checksum/{{ $name }}: {{ include (printf "%s/%s.yaml" $.root.Template.BasePath $file) $.root | fromYaml | dig "data" dict | toYaml | sha256sum }}
  {{- end }}
  {{- $exporter := ternary .root.Values.metrics.podAnnotations dict .root.Values.metrics.enabled }}
  {{- with merge dict $exporter .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "redis.pod" -}}
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- if .values.podSecurityContext.enabled }}
securityContext: {{- omit .values.podSecurityContext "enabled" | toYaml | nindent 2 }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: true
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if .values.affinity }}
affinity: {{- toYaml .values.affinity | nindent 2 }}
{{- else if .values.podAntiAffinityPreset }}
affinity:
  podAntiAffinity:
    {{- if eq .values.podAntiAffinityPreset "hard" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - {{- include "redis.apart" . | nindent 8 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        podAffinityTerm: {{- include "redis.apart" . | nindent 10 }}
    {{- end }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "redis.apart" -}}
topologyKey: kubernetes.io/hostname
labelSelector:
  matchLabels: {{- include "redis.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* `image` may be empty; `values` has a containerSecurityContext. */}}
{{- define "redis.container" -}}
image: {{ include "redis.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- if .values.containerSecurityContext.enabled }}
securityContext: {{- omit .values.containerSecurityContext "enabled" | toYaml | nindent 2 }}
{{- end }}
{{- with .values.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
One probe, `kind`, where it is enabled: `probe` has its numbers. It asks as `ask` says, or by a `script` of /health that has `seconds`; of
a single master the script ends before the probe does (`spare`), as in the Bitnami chart, and can say that it timed out.
*/}}
{{- define "redis.probe" -}}
{{- if .probe.enabled }}
{{ .kind }}: {{- omit .probe "enabled" "timeoutSeconds" | toYaml | nindent 2 }}
  timeoutSeconds: {{ add .probe.timeoutSeconds (default 0 .spare) }}
  {{- with .ask }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  exec:
    command: [/bin/bash, -ec, "/health/{{ .script }} {{ .seconds }}"]
  {{- end }}
{{- end }}
{{- end -}}

{{/* The probes of a container by scripts of /health: its `values`, `alive`, `ready`, and `spare` as above. */}}
{{- define "redis.probes" -}}
{{- $alive := .values.livenessProbe -}}
{{- $ready := .values.readinessProbe -}}
{{- include "redis.probe" (dict "kind" "startupProbe" "probe" .values.startupProbe "script" .alive "seconds" $alive.timeoutSeconds "ask" .started) }}
{{- include "redis.probe" (dict "kind" "livenessProbe" "probe" $alive "script" .alive "seconds" $alive.timeoutSeconds "spare" .spare) }}
{{- include "redis.probe" (dict "kind" "readinessProbe" "probe" $ready "script" .ready "seconds" $ready.timeoutSeconds "spare" .spare) }}
{{- end -}}

{{- define "redis.mounts" -}}
- name: start-scripts
  mountPath: /opt/bitnami/scripts/start-scripts
- name: health
  mountPath: /health
- name: redis-password
  mountPath: /opt/bitnami/redis/secrets/
- name: redis-data
  mountPath: {{ .values.persistence.path }}
- name: config
  mountPath: /opt/bitnami/redis/mounted-etc
- name: empty-dir
  mountPath: /opt/bitnami/redis/etc/
  subPath: app-conf-dir
- name: empty-dir
  mountPath: /tmp
  subPath: tmp-dir
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "redis.volumes" -}}
{{- $fullname := include "redis.fullname" .root -}}
- name: start-scripts
  configMap: {name: {{ $fullname }}-scripts, defaultMode: 0755}
- name: health
  configMap: {name: {{ $fullname }}-health, defaultMode: 0755}
- name: redis-password
  secret:
    secretName: {{ .root.Values.auth.existingSecret }}
    items:
      - key: {{ .root.Values.auth.existingSecretPasswordKey }}
        path: redis-password
- name: config
  configMap: {name: {{ $fullname }}-configuration}
- name: empty-dir
  emptyDir: {}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A volume by claim, or an empty directory: `name` and `persistence`. */}}
{{- define "redis.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: {{ .name }}
    labels: {{- include "redis.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  spec:
    accessModes: {{- toYaml .persistence.accessModes | nindent 6 }}
    resources:
      requests:
        storage: {{ .persistence.size }}
    {{- with .persistence.storageClass }}
    storageClassName: {{ . }}
    {{- end }}
{{- end -}}

{{- define "redis.exporter" -}}
{{- with .root.Values.metrics }}
- name: metrics
  {{- include "redis.container" (dict "root" $.root "image" .image "values" .) | nindent 2 }}
  command: [/bin/bash, -ec, /opt/bitnami/scripts/start-scripts/start-exporter.sh]
  env:
    - {name: REDIS_ALIAS, value: {{ include "redis.fullname" $.root }}}
    - {name: REDIS_EXPORTER_WEB_LISTEN_ADDRESS, value: {{ printf ":%v" .containerPorts.http | quote }}}
    - {name: REDIS_ADDR, value: {{ printf "redis://localhost:%v" $.values.containerPorts.redis }}}
    - {name: REDIS_USER, value: default}
    {{- with .extraEnvVars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: metrics
      containerPort: {{ .containerPorts.http }}
  {{- $listens := dict "tcpSocket" (dict "port" "metrics") }}
  {{- $answers := dict "httpGet" (dict "path" "/" "port" "metrics") }}
  {{- range $kind, $ask := dict "startupProbe" $listens "livenessProbe" $listens "readinessProbe" $answers }}
  {{- with include "redis.probe" (dict "kind" $kind "probe" (index $.root.Values.metrics $kind) "ask" $ask) }}
  {{- trim . | nindent 2 }}
  {{- end }}
  {{- end }}
  volumeMounts:
    - name: start-scripts
      mountPath: /opt/bitnami/scripts/start-scripts
    - name: empty-dir
      mountPath: /tmp
      subPath: tmp-dir
    - name: redis-password
      mountPath: /secrets/
{{- end }}
{{- end -}}

{{- define "redis.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "redis.fullname" .root }}-{{ .component }}
  {{- include "redis.componentMetadata" . | nindent 2 }}
spec:
  {{- with .values.pdb }}
  {{- if .minAvailable }}
  minAvailable: {{ .minAvailable }}
  {{- end }}
  {{- if or .maxUnavailable (not .minAvailable) }}
  maxUnavailable: {{ default 1 .maxUnavailable }}
  {{- end }}
  {{- end }}
  selector:
    matchLabels: {{- include "redis.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end -}}
