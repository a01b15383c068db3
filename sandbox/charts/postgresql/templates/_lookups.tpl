{{/*
The Bitnami chart looks up two Secrets whenever it is rendered for a cluster, previews included: the one of `auth.existingSecret`, which
must have every key, and one of the chart's own name, though there is none. Who may not read both cannot render it, here neither.
*/}}
{{- define "postgresql.lookUps" -}}
{{- $auth := .Values.auth -}}
{{- $keys := list -}}
{{- if eq .Values.architecture "replication" -}}{{- $keys = append $keys $auth.secretKeys.replicationPasswordKey -}}{{- end -}}
{{- if and $auth.username (ne $auth.username "postgres") -}}{{- $keys = append $keys $auth.secretKeys.userPasswordKey -}}{{- end -}}
{{- $existing := lookup "v1" "Secret" .Release.Namespace $auth.existingSecret -}}
{{- range $key := $keys -}}
{{- if and $existing (not (hasKey (default dict $existing.data) $key)) -}}
{{- fail (printf "the secret %q does not contain the key %q" $auth.existingSecret $key) -}}
{{- end -}}
{{- end -}}
{{- $own := lookup "v1" "Secret" .Release.Namespace (include "postgresql.fullname" .) -}}
{{- end -}}
