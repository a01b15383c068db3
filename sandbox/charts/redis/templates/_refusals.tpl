{{/* What this chart does not do, said before anything is rendered. */}}
{{- define "redis.refusals" -}}
{{- $remedy := "Take it out of the values, or use the Bitnami chart." -}}
{{- $replication := eq .Values.architecture "replication" -}}
{{- $refused := list -}}
{{- if and $replication (not .Values.sentinel.enabled) -}}
{{- $refused = append $refused "architecture: replication without sentinel.enabled: true" -}}
{{- end -}}
{{- if and (not $replication) .Values.sentinel.enabled -}}
{{- $refused = append $refused "sentinel.enabled: true without architecture: replication" -}}
{{- end -}}
{{- if .Values.auth.sentinel -}}{{- $refused = append $refused "auth.sentinel: true" -}}{{- end -}}
{{- if .Values.tls.enabled -}}{{- $refused = append $refused "tls.enabled: true" -}}{{- end -}}
{{- if not .Values.useHostnames -}}{{- $refused = append $refused "useHostnames: false" -}}{{- end -}}
{{- if not .Values.auth.enabled -}}{{- $refused = append $refused "auth.enabled: false" -}}{{- end -}}
{{- if not .Values.auth.usePasswordFiles -}}{{- $refused = append $refused "auth.usePasswordFiles: false" -}}{{- end -}}
{{- range $monitor := list "serviceMonitor" "podMonitor" "prometheusRule" -}}
{{- if (index $.Values.metrics $monitor).enabled -}}
{{- $refused = append $refused (printf "metrics.%s.enabled: true" $monitor) -}}
{{- end -}}
{{- end -}}
{{- if $refused -}}
{{- fail (printf "the stand-in chart for Redis does not implement %s. %s" (join ", " $refused) $remedy) -}}
{{- end -}}
{{- if not .Values.auth.existingSecret -}}
{{- fail "the stand-in chart for Redis renders no Secret: set auth.existingSecret to the name of one that holds the password under auth.existingSecretPasswordKey." -}}
{{- end -}}
{{- if and $replication (ne (default "OrderedReady" .Values.replica.podManagementPolicy) "OrderedReady") -}}
{{- fail (printf "replica.podManagementPolicy: %s would let every node that starts first elect itself: leave it OrderedReady." .Values.replica.podManagementPolicy) -}}
{{- end -}}
{{- if and $replication (gt (int .Values.sentinel.quorum) (int .Values.replica.replicaCount)) -}}
{{- fail (printf "sentinel.quorum: %v of %v Sentinels can never agree: lower it, or raise replica.replicaCount." .Values.sentinel.quorum .Values.replica.replicaCount) -}}
{{- end -}}
{{- with .Values.networkPolicy.metrics -}}
{{- if and (not .allowExternal) (not .ingressNSMatchLabels) (not .ingressNSPodMatchLabels) -}}
{{- fail "networkPolicy.metrics.allowExternal: false without ingressNSMatchLabels or ingressNSPodMatchLabels makes the Bitnami chart admit everybody: name who may scrape." -}}
{{- end -}}
{{- end -}}
{{- end -}}
