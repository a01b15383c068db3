{{/* How one kind of node is reached, by whom, and how many of it may be away. Takes what nodes.yaml makes. */}}

{{- define "postgresql.services" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}-hl
  {{- include "postgresql.metadata" . | nindent 2 }}
spec:
  type: ClusterIP
  clusterIP: None
  publishNotReadyAddresses: true
  {{- include "postgresql.servicePort" . | nindent 2 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  {{- include "postgresql.metadata" . | nindent 2 }}
spec:
  type: ClusterIP
  sessionAffinity: None
  {{- include "postgresql.servicePort" . | nindent 2 }}
{{- if .root.Values.metrics.enabled }}
{{- $metrics := dict "component" (ternary "metrics-read" "metrics" (eq .component "read")) "annotations" .root.Values.metrics.service.annotations }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}-metrics
  {{- include "postgresql.metadata" (merge $metrics .) | nindent 2 }}
spec:
  type: ClusterIP
  sessionAffinity: None
  ports:
    - name: http-metrics
      port: {{ .root.Values.metrics.service.ports.metrics }}
      targetPort: http-metrics
  selector: {{- include "postgresql.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- end -}}

{{- define "postgresql.servicePort" -}}
ports:
  - name: tcp-postgresql
    port: {{ .values.service.ports.postgresql }}
    targetPort: tcp-postgresql
selector: {{- include "postgresql.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "postgresql.networkPolicy" -}}
{{- $policy := .values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  {{- include "postgresql.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "postgresql.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  policyTypes: [Ingress, Egress]
  egress:
    {{- if $policy.allowExternalEgress }}
    - {}
    {{- else }}
    - ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    - ports:
        - port: {{ .root.Values.containerPorts.postgresql }}
      to:
        - podSelector:
            matchLabels: {{- include "postgresql.selector" .root | nindent 14 }}
              app.kubernetes.io/component: {{ ternary "primary" "read" (eq .component "read") }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  ingress:
    - ports:
        - port: {{ .root.Values.containerPorts.postgresql }}
        {{- if .root.Values.metrics.enabled }}
        - port: {{ .root.Values.metrics.containerPorts.metrics }}
        {{- end }}
      {{- if not $policy.allowExternal }}
      from:
        - podSelector:
            matchLabels: {{- include "postgresql.selector" .root | nindent 14 }}
        - podSelector:
            matchLabels:
              {{ .name }}-client: "true"
      {{- end }}
    {{- with $policy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "postgresql.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  {{- include "postgresql.metadata" . | nindent 2 }}
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
    matchLabels: {{- include "postgresql.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end -}}
