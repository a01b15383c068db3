{{/* Names, labels and images: the interface that other objects and network policies rely on. */}}

{{- define "redis.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "redis.selector" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
{{- end -}}

{{- define "redis.labels" -}}
{{ include "redis.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "redis.metadata" -}}
namespace: {{ .Release.Namespace }}
labels: {{- include "redis.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Metadata of what belongs to one component: `root`, `component`, and `annotations` of its own where it has some. */}}
{{- define "redis.componentMetadata" -}}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "redis.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The image of a container: `root`, and `image`, which may be empty for the one image that has everything. */}}
{{- define "redis.image" -}}
{{- $image := ternary .image .root.Values.image (not (empty (.image).repository)) -}}
{{- $reference := printf "%s/%s" (default $image.registry .root.Values.global.imageRegistry) $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $reference $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $reference (toString $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The domain of the nodes' own names. */}}
{{- define "redis.domain" -}}
{{- printf "%s-headless.%s.svc.%s" (include "redis.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}
