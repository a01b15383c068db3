{{/* One kind of node, as nodes.yaml makes it: `root`, `name`, `component`, `values`, `replicas`. */}}
{{- define "postgresql.statefulSet" -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ .name }}
  {{- include "postgresql.metadata" . | nindent 2 }}
spec:
  replicas: {{ .replicas }}
  serviceName: {{ .name }}-hl
  updateStrategy: {type: RollingUpdate}
  selector:
    matchLabels: {{- include "postgresql.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels: {{- include "postgresql.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        {{- with .values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or .values.extendedConfiguration .values.podAnnotations }}
      annotations:
        {{- if .values.extendedConfiguration }}
        {{- /* Of the primary's for replicas too, as in the Bitnami chart: a change of theirs alone restarts nobody. */}}
        checksum/extended-configuration: {{ sha256sum .root.Values.primary.extendedConfiguration }}
        {{- end }}
        {{- with .values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
    spec:
      {{- with .root.Values.global.imagePullSecrets }}
      imagePullSecrets: {{- range . }}
        - name: {{ . }}
      {{- end }}
      {{- end }}
      {{- if .values.podSecurityContext.enabled }}
      securityContext: {{- omit .values.podSecurityContext "enabled" | toYaml | nindent 8 }}
      {{- end }}
      serviceAccountName: {{ include "postgresql.fullname" .root }}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
      {{- include "postgresql.placement" . | nindent 6 }}
      containers:
        {{- include "postgresql.server" . | nindent 8 }}
        {{- if .root.Values.metrics.enabled }}
        {{- include "postgresql.exporter" . | nindent 8 }}
        {{- end }}
      volumes:
        - name: empty-dir
          emptyDir: {}
        - name: postgresql-password
          secret:
            secretName: {{ .root.Values.auth.existingSecret }}
        - name: dshm
          emptyDir: {medium: Memory}
        {{- if .values.extendedConfiguration }}
        - name: postgresql-extended-config
          configMap:
            name: {{ .name }}-extended-configuration
        {{- end }}
        {{- with .values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- if not .values.persistence.enabled }}
        - name: data
          emptyDir: {}
        {{- end }}
  {{- if .values.persistence.enabled }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
      spec:
        accessModes: {{- toYaml .values.persistence.accessModes | nindent 10 }}
        resources:
          requests:
            storage: {{ .values.persistence.size }}
        {{- with .values.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
  {{- end }}
{{- end -}}

{{- define "postgresql.placement" -}}
{{- if .values.affinity -}}
affinity: {{- toYaml .values.affinity | nindent 2 }}
{{- else if .values.podAntiAffinityPreset -}}
affinity:
  podAntiAffinity:
    {{- if eq .values.podAntiAffinityPreset "hard" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - {{- include "postgresql.apart" . | nindent 8 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        podAffinityTerm: {{- include "postgresql.apart" . | nindent 10 }}
    {{- end }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "postgresql.apart" -}}
topologyKey: kubernetes.io/hostname
labelSelector:
  matchLabels: {{- include "postgresql.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
{{- end -}}
