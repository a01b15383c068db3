{{/* Names, labels and the image: the interface that other objects and network policies rely on. */}}

{{- define "postgresql.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "postgresql.selector" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
{{- end -}}

{{- define "postgresql.labels" -}}
{{ include "postgresql.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of what belongs to one component: `root`, `component`, and `annotations` of its own where it has some. */}}
{{- define "postgresql.metadata" -}}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "postgresql.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "postgresql.primary" -}}
{{- include "postgresql.fullname" . }}{{ if eq .Values.architecture "replication" }}-primary{{ end }}
{{- end -}}

{{/* The image of a container: `root`, and `image`, which may be empty for the one image that has everything. */}}
{{- define "postgresql.image" -}}
{{- $image := ternary .image .root.Values.image (not (empty (.image).repository)) -}}
{{- $reference := printf "%s/%s" (default $image.registry .root.Values.global.imageRegistry) $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $reference $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $reference (toString $image.tag) -}}
{{- end -}}
{{- end -}}
