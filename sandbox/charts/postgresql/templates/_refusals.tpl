{{/*
What this chart does not do, said before anything is rendered. A read replica would be templates of its own beside
primary.yaml (the image's entrypoint can already start one); this file then loses their lines.
*/}}
{{- define "postgresql.refusals" -}}
{{- $remedy := "Take it out of the values, or use the Bitnami chart." -}}
{{- $refused := list -}}
{{- if ne .Values.architecture "standalone" -}}
{{- $refused = append $refused (printf "architecture: %s (only standalone)" .Values.architecture) -}}
{{- end -}}
{{- range $feature := list "metrics" "tls" "ldap" "backup" "passwordUpdateJob" "volumePermissions" -}}
{{- if (index $.Values $feature).enabled -}}
{{- $refused = append $refused (printf "%s.enabled: true" $feature) -}}
{{- end -}}
{{- end -}}
{{- range $feature := list "readReplicas" "replication" -}}
{{- if index $.Values $feature -}}{{- $refused = append $refused (printf "%s: anything" $feature) -}}{{- end -}}
{{- end -}}
{{- if not .Values.auth.usePasswordFiles -}}{{- $refused = append $refused "auth.usePasswordFiles: false" -}}{{- end -}}
{{- if not .Values.auth.enablePostgresUser -}}
{{- $refused = append $refused "auth.enablePostgresUser: false" -}}
{{- end -}}
{{- if $refused -}}
{{- fail (printf "the stand-in chart for PostgreSQL does not implement %s. %s" (join ", " $refused) $remedy) -}}
{{- end -}}
{{- if not .Values.auth.existingSecret -}}
{{- fail "the stand-in chart for PostgreSQL renders no Secret: set auth.existingSecret to the name of one with the keys of auth.secretKeys." -}}
{{- end -}}
{{- end -}}
