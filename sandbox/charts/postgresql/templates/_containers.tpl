{{/* The containers of a node, as nodes.yaml makes it. */}}

{{- define "postgresql.server" -}}
{{- $user := .root.Values.auth.username -}}
{{- $secrets := "/opt/bitnami/postgresql/secrets" -}}
{{- $keys := .root.Values.auth.secretKeys -}}
{{- $read := eq .component "read" -}}
{{- $ask := printf "exec pg_isready -U %q" (default "postgres" $user) -}}
{{- with .root.Values.auth.database -}}
{{- $ask = printf "%s -d %q" $ask (printf "dbname=%s" .) -}}
{{- end -}}
{{- $ask = printf "%s -h 127.0.0.1 -p %v" $ask .root.Values.containerPorts.postgresql -}}
- name: postgresql
  image: {{ include "postgresql.image" (dict "root" .root "image" dict) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  {{- if .values.containerSecurityContext.enabled }}
  securityContext: {{- omit .values.containerSecurityContext "enabled" | toYaml | nindent 4 }}
  {{- end }}
  # No command: the image's entrypoint turns this environment into a primary or a replica.
  env:
    - {name: BITNAMI_DEBUG, value: "false"}
    - {name: POSTGRESQL_PORT_NUMBER, value: {{ .root.Values.containerPorts.postgresql | quote }}}
    - {name: POSTGRESQL_VOLUME_DIR, value: {{ .values.persistence.mountPath | quote }}}
    - {name: PGDATA, value: {{ printf "%s/data" .values.persistence.mountPath | quote }}}
    {{- if and $user (ne $user "postgres") }}
    - {name: POSTGRES_USER, value: {{ $user | quote }}}
    - {name: POSTGRES_PASSWORD_FILE, value: {{ printf "%s/%s" $secrets $keys.userPasswordKey }}}
    - {name: POSTGRES_POSTGRES_PASSWORD_FILE, value: {{ printf "%s/%s" $secrets $keys.adminPasswordKey }}}
    {{- else }}
    - {name: POSTGRES_PASSWORD_FILE, value: {{ printf "%s/%s" $secrets $keys.adminPasswordKey }}}
    {{- end }}
    {{- if not $read }}
    {{- with .root.Values.auth.database }}
    - {name: POSTGRES_DATABASE, value: {{ . | quote }}}
    {{- end }}
    {{- end }}
    {{- if eq .root.Values.architecture "replication" }}
    - {name: POSTGRES_REPLICATION_MODE, value: {{ ternary "slave" "master" $read }}}
    - {name: POSTGRES_REPLICATION_USER, value: {{ .root.Values.auth.replicationUsername | quote }}}
    - {name: POSTGRES_REPLICATION_PASSWORD_FILE, value: {{ printf "%s/%s" $secrets $keys.replicationPasswordKey }}}
    {{- with .root.Values.replication }}
    {{- if not $read }}
    {{- if ne .synchronousCommit "off" }}
    - {name: POSTGRES_SYNCHRONOUS_COMMIT_MODE, value: {{ .synchronousCommit | quote }}}
    {{- end }}
    {{- if .numSynchronousReplicas }}
    - {name: POSTGRES_NUM_SYNCHRONOUS_REPLICAS, value: {{ .numSynchronousReplicas | quote }}}
    {{- end }}
    {{- end }}
    - {name: POSTGRES_CLUSTER_APP_NAME, value: {{ .applicationName | quote }}}
    {{- end }}
    {{- if $read }}
    - {name: POSTGRES_MASTER_HOST, value: {{ include "postgresql.primary" .root }}}
    - {name: POSTGRES_MASTER_PORT_NUMBER, value: {{ .root.Values.primary.service.ports.postgresql | quote }}}
    {{- end }}
    {{- end }}
    {{- with .values.extraEnvVars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: tcp-postgresql
      containerPort: {{ .root.Values.containerPorts.postgresql }}
  {{- $ready := dict "exec" (dict "command" (list "/bin/sh" "-c" $ask)) }}
  {{- $asks := dict "startupProbe" $ready "livenessProbe" $ready "readinessProbe" $ready }}
  {{- include "postgresql.probes" (dict "values" .values "ask" $asks) | trim | nindent 2 }}
  {{- with .values.resources }}
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: empty-dir
      mountPath: /tmp
      subPath: tmp-dir
    - name: empty-dir
      mountPath: /opt/bitnami/postgresql/conf
      subPath: app-conf-dir
    - name: empty-dir
      mountPath: /opt/bitnami/postgresql/tmp
      subPath: app-tmp-dir
    - name: postgresql-password
      mountPath: {{ $secrets }}/
    - name: dshm
      mountPath: /dev/shm
    {{- if .values.extendedConfiguration }}
    - name: postgresql-extended-config
      mountPath: {{ .values.persistence.mountPath }}/conf/conf.d/
    {{- end }}
    - name: data
      mountPath: {{ .values.persistence.mountPath }}
    {{- with .values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The probes of a container, three values of one kind: `values`, and `ask`, how they ask, for each of them. */}}
{{- define "postgresql.probes" -}}
{{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
{{- with index $.values $probe }}
{{- if .enabled }}
{{ $probe }}: {{- merge (omit . "enabled") (index $.ask $probe) | toYaml | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "postgresql.exporter" -}}
{{- $auth := .root.Values.auth -}}
{{- $own := and $auth.username (ne $auth.username "postgres") -}}
{{- with .root.Values.metrics -}}
- name: metrics
  image: {{ include "postgresql.image" (dict "root" $.root "image" .image) }}
  imagePullPolicy: {{ $.root.Values.image.pullPolicy }}
  {{- if .containerSecurityContext.enabled }}
  securityContext: {{- omit .containerSecurityContext "enabled" | toYaml | nindent 4 }}
  {{- end }}
  # No command: an image of an exporter runs it, ours by this environment.
  env:
    - {name: DATA_SOURCE_URI, value: {{ printf "127.0.0.1:%v/postgres?sslmode=disable" $.root.Values.primary.service.ports.postgresql | quote }}}
    - {name: DATA_SOURCE_PASS_FILE, value: {{ printf "/opt/bitnami/postgresql/secrets/%s" (ternary $auth.secretKeys.userPasswordKey $auth.secretKeys.adminPasswordKey $own) }}}
    - {name: DATA_SOURCE_USER, value: {{ ternary $auth.username "postgres" $own | quote }}}
    {{- with .extraEnvVars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: http-metrics
      containerPort: {{ .containerPorts.metrics }}
  {{- $answers := dict "httpGet" (dict "path" "/" "port" "http-metrics") }}
  {{- $listens := dict "tcpSocket" (dict "port" "http-metrics") }}
  {{- $asks := dict "startupProbe" $listens "livenessProbe" $answers "readinessProbe" $answers }}
  {{- include "postgresql.probes" (dict "values" . "ask" $asks) | trim | nindent 2 }}
  {{- with .resources }}
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: empty-dir
      mountPath: /tmp
      subPath: tmp-dir
    - name: postgresql-password
      mountPath: /opt/bitnami/postgresql/secrets/
{{- end }}
{{- end -}}
