{{/* What this chart does not do, said before anything is rendered. */}}
{{- define "postgresql.refusals" -}}
{{- $remedy := "Take it out of the values, or use the Bitnami chart." -}}
{{- $refused := list -}}
{{- range $feature := list "tls" "ldap" "backup" "passwordUpdateJob" "volumePermissions" -}}
{{- if (index $.Values $feature).enabled -}}
{{- $refused = append $refused (printf "%s.enabled: true" $feature) -}}
{{- end -}}
{{- end -}}
{{- range $monitor := list "serviceMonitor" "prometheusRule" -}}
{{- if (index $.Values.metrics $monitor).enabled -}}
{{- $refused = append $refused (printf "metrics.%s.enabled: true" $monitor) -}}
{{- end -}}
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
{{- if gt (int .Values.replication.numSynchronousReplicas) (int .Values.readReplicas.replicaCount) -}}
{{- fail (printf "replication.numSynchronousReplicas: %v of %v replicas can never confirm a commit: lower it, or raise readReplicas.replicaCount." .Values.replication.numSynchronousReplicas .Values.readReplicas.replicaCount) -}}
{{- end -}}
{{- end -}}
