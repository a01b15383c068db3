{{/*
What this chart does not do, said before anything is rendered. Sentinel and replicas would be templates of their own
beside master/; this file then loses their lines.
*/}}
{{- define "redis.refusals" -}}
{{- $remedy := "Take it out of the values, or use the Bitnami chart." -}}
{{- $refused := list -}}
{{- if ne .Values.architecture "standalone" -}}
{{- $refused = append $refused (printf "architecture: %s (only standalone)" .Values.architecture) -}}
{{- end -}}
{{- if .Values.sentinel.enabled -}}{{- $refused = append $refused "sentinel.enabled: true" -}}{{- end -}}
{{- if .Values.auth.sentinel -}}{{- $refused = append $refused "auth.sentinel: true" -}}{{- end -}}
{{- if .Values.metrics.enabled -}}{{- $refused = append $refused "metrics.enabled: true" -}}{{- end -}}
{{- if .Values.tls.enabled -}}{{- $refused = append $refused "tls.enabled: true" -}}{{- end -}}
{{- if .Values.replica -}}{{- $refused = append $refused "replica: anything" -}}{{- end -}}
{{- if not .Values.auth.enabled -}}{{- $refused = append $refused "auth.enabled: false" -}}{{- end -}}
{{- if not .Values.auth.usePasswordFiles -}}{{- $refused = append $refused "auth.usePasswordFiles: false" -}}{{- end -}}
{{- if $refused -}}
{{- fail (printf "the stand-in chart for Redis does not implement %s. %s" (join ", " $refused) $remedy) -}}
{{- end -}}
{{- if not .Values.auth.existingSecret -}}
{{- fail "the stand-in chart for Redis renders no Secret: set auth.existingSecret to the name of one that holds the password under auth.existingSecretPasswordKey." -}}
{{- end -}}
{{- end -}}
