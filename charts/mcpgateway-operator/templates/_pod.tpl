{{/* Arguments, credentials and security of the operator's pods and of the doctor's pod. */}}

{{/* Where Secrets and ConfigMaps are mounted, as one volume. A rotated Secret takes effect without a restart. */}}
{{- define "mcpgateway-operator.credentialsPath" -}}
/etc/mcpgateway-operator
{{- end }}

{{/* The sources of that volume. Empty if there are none. */}}
{{- define "mcpgateway-operator.credentials" -}}
{{- with .Values.redis }}
{{- if and .existingSecret .passwordKey }}
- secret:
    name: {{ .existingSecret }}
    items: [{key: {{ .passwordKey | quote }}, path: redis/password}]
{{- end }}
{{- include "mcpgateway-operator.ca" (dict "ca" .tls.ca "path" "redis/ca.crt") }}
{{- with .tls.clientCertificate.existingSecret }}
- secret:
    name: {{ . }}
    items: [{key: tls.crt, path: redis/tls.crt}, {key: tls.key, path: redis/tls.key}]
{{- end }}
{{- end }}
{{- with .Values.contextForge.plugin }}
{{- if .enabled }}
- secret:
    name: {{ include "mcpgateway-operator.usageToken" $ }}
    items: [{key: {{ .tokenSecret.key | quote }}, path: workers/token}]
{{- end }}
{{- end }}
{{- with .Values.workers }}
{{- if .token.existingSecret }}
- secret:
    name: {{ .token.existingSecret }}
    items: [{key: {{ .token.key | quote }}, path: workers/token}]
{{- end }}
{{- include "mcpgateway-operator.ca" (dict "ca" .tls.ca "path" "workers/ca.crt") }}
{{- with .tls.clientCertificate.existingSecret }}
- secret:
    name: {{ . }}
    items: [{key: tls.crt, path: workers/tls.crt}, {key: tls.key, path: workers/tls.key}]
{{- end }}
{{- end }}
{{- with .Values.contextForge }}
{{- if .tokenSecret.name }}
- secret:
    name: {{ .tokenSecret.name }}
    items: [{key: {{ .tokenSecret.key | quote }}, path: contextforge/token}]
{{- end }}
{{- if .caSecret.name }}
- secret:
    name: {{ .caSecret.name }}
    items: [{key: {{ .caSecret.key | quote }}, path: contextforge/ca.crt}]
{{- end }}
{{- end }}
{{- if and .Values.api.enabled .Values.api.token.existingSecret }}
- secret:
    name: {{ .Values.api.token.existingSecret }}
    items: [{key: {{ .Values.api.token.key | quote }}, path: api/token}]
{{- end }}
{{- end }}

{{- define "mcpgateway-operator.ca" -}}
{{- with .ca }}
{{- if .secret }}
- secret:
    name: {{ .secret }}
    items: [{key: {{ .key | quote }}, path: {{ $.path }}}]
{{- else if .configMap }}
- configMap:
    name: {{ .configMap }}
    items: [{key: {{ .key | quote }}, path: {{ $.path }}}]
{{- end }}
{{- end }}
{{- end }}

{{/* The flags that `run` and `doctor` share: objects, workers, Redis, ContextForge, poll intervals and Lease. */}}
{{- define "mcpgateway-operator.sharedArgs" -}}
{{- $files := include "mcpgateway-operator.credentialsPath" . }}
{{- range .Values.watch.namespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- with .Values.watch.selector }}
- {{ printf "--watch-selector=%s" . | quote }}
{{- end }}
{{- with .Values.workers }}
{{- range include "mcpgateway-operator.workerServices" $ | fromJsonArray }}
- {{ printf "--worker-service=%s" . | quote }}
{{- end }}
{{- range .endpoints }}
- {{ printf "--worker-endpoint=%s" . | quote }}
{{- end }}
- {{ printf "--worker-path=%s" .path | quote }}
- {{ printf "--worker-timeout=%s" .timeout | quote }}
- {{ printf "--worker-concurrency=%d" (int .concurrency) | quote }}
- {{ printf "--worker-quorum=%v" .quorum | quote }}
- {{ printf "--max-report-bytes=%s" .maxReportBytes | quote }}
{{- if or .token.existingSecret $.Values.contextForge.plugin.enabled }}
- --worker-token-file={{ $files }}/workers/token
{{- end }}
{{- if or .tls.ca.secret .tls.ca.configMap }}
- --worker-ca-file={{ $files }}/workers/ca.crt
{{- end }}
{{- if .tls.clientCertificate.existingSecret }}
- --worker-client-cert-file={{ $files }}/workers/tls.crt
- --worker-client-key-file={{ $files }}/workers/tls.key
{{- end }}
{{- with .tls.serverName }}
- {{ printf "--worker-tls-server-name=%s" . | quote }}
{{- end }}
{{- end }}
{{- if include "mcpgateway-operator.hasRedis" . }}
{{- with .Values.redis }}
{{- with .url }}
- {{ printf "--redis-url=%s" . | quote }}
{{- end }}
{{- with .username }}
- {{ printf "--redis-username=%s" . | quote }}
{{- end }}
{{- if and .existingSecret .passwordKey }}
- --redis-password-file={{ $files }}/redis/password
{{- end }}
{{- if or .tls.ca.secret .tls.ca.configMap }}
- --redis-ca-file={{ $files }}/redis/ca.crt
{{- end }}
{{- if .tls.clientCertificate.existingSecret }}
- --redis-client-cert-file={{ $files }}/redis/tls.crt
- --redis-client-key-file={{ $files }}/redis/tls.key
{{- end }}
- {{ printf "--redis-key-prefix=%s" .keyPrefix | quote }}
{{- with .ownerId }}
- {{ printf "--redis-owner-id=%s" . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.contextForge }}
{{- if .url }}
- {{ printf "--contextforge-url=%s" .url | quote }}
- --contextforge-token-file={{ $files }}/contextforge/token
{{- if .caSecret.name }}
- --contextforge-ca-file={{ $files }}/contextforge/ca.crt
{{- end }}
- {{ printf "--contextforge-requests-per-minute=%d" (int .requestsPerMinute) | quote }}
{{- end }}
{{- end }}
- {{ printf "--hot-poll-interval=%s" .Values.polls.hotInterval | quote }}
{{- with .Values.polls.coldInterval }}
- {{ printf "--cold-poll-interval=%s" . | quote }}
{{- end }}
- --leader-elect-resource-name={{ include "mcpgateway-operator.leaseName" . }}
- --leader-elect-resource-namespace={{ .Release.Namespace }}
{{- end }}

{{/* The other flags of `run`. */}}
{{- define "mcpgateway-operator.runArgs" -}}
{{- with .Values.classification }}
- {{ printf "--classification-interval=%s" .interval | quote }}
- {{ printf "--hot-fraction=%v" .hotFraction | quote }}
- {{ printf "--min-hot=%d" (int .minHot) | quote }}
- {{ printf "--max-pinned=%v" .maxPinned | quote }}
{{- with .recencyResolution }}
- {{ printf "--recency-resolution=%s" . | quote }}
{{- end }}
- {{ printf "--usage-window=%s" .usageWindow | quote }}
{{- end }}
- {{ printf "--status-usage-interval=%s" .Values.status.usageInterval | quote }}
{{- with .Values.polls }}
- --refresh-plan={{ .refreshPlan }}
- {{ printf "--refresh-budget=%v" .refreshBudget | quote }}
- {{ printf "--longest-refresh-interval=%s" .longestInterval | quote }}
{{- end }}
{{- if include "mcpgateway-operator.hasRedis" . }}
- --redis-lock-takeover={{ .Values.redis.lockTakeover }}
{{- end }}
{{- with .Values.contextForge }}
{{- if .url }}
- {{ printf "--contextforge-resync=%s" .resync | quote }}
{{- with .ownerId }}
- {{ printf "--contextforge-owner-id=%s" . | quote }}
{{- end }}
{{- range .registration.namespaces }}
- --registration-namespace={{ . }}
{{- end }}
{{- range .registration.allowHeaders }}
- --registration-allow-header={{ . }}
{{- end }}
{{- range .registration.adoptionNamespaces }}
- --adoption-namespace={{ . }}
{{- end }}
{{- with .mirrorNamespace }}
- --mirror-namespace={{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.leaderElection }}
- {{ printf "--leader-elect-lease-duration=%s" .leaseDuration | quote }}
- {{ printf "--leader-elect-renew-deadline=%s" .renewDeadline | quote }}
- {{ printf "--leader-elect-retry-period=%s" .retryPeriod | quote }}
{{- end }}
- {{ if .Values.metrics.enabled }}{{ printf "--metrics-bind-address=%s:%d" .Values.bindAddress (int .Values.metrics.port) | quote }}{{ else }}--metrics-bind-address=0{{ end }}
- {{ printf "--health-probe-bind-address=%s:%d" .Values.bindAddress (int .Values.health.port) | quote }}
{{- if .Values.api.enabled }}
- {{ printf "--api-bind-address=%s:%d" .Values.bindAddress (int .Values.api.port) | quote }}
- --api-token-file={{ include "mcpgateway-operator.credentialsPath" . }}/api/token
{{- end }}
- --log-format={{ .Values.logging.format }}
- {{ printf "--log-level=%s" .Values.logging.level | quote }}
{{- end }}

{{/* Environment, mounts and security of the container. */}}
{{- define "mcpgateway-operator.container" -}}
image: {{ include "mcpgateway-operator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .Values.redis.urlKey .Values.extraEnv }}
env:
  {{- with .Values.redis.urlKey }}
  - name: MCPGW_REDIS_URL
    valueFrom:
      secretKeyRef:
        name: {{ $.Values.redis.existingSecret }}
        key: {{ . | quote }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $credentials := include "mcpgateway-operator.credentials" . }}
{{- if or $credentials .Values.extraVolumeMounts }}
volumeMounts:
  {{- if $credentials }}
  - name: credentials
    mountPath: {{ include "mcpgateway-operator.credentialsPath" . }}
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Service account, security, volumes and scheduling of a pod. */}}
{{- define "mcpgateway-operator.pod" -}}
serviceAccountName: {{ include "mcpgateway-operator.serviceAccountName" . }}
automountServiceAccountToken: true
# A Service named mcpgw… would set variables that the operator reports as mistyped settings.
enableServiceLinks: false
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $credentials := include "mcpgateway-operator.credentials" . }}
{{- if or $credentials .Values.extraVolumes }}
volumes:
  {{- if $credentials }}
  - name: credentials
    projected:
      # Readable only for the group of the pod (fsGroup).
      defaultMode: 0440
      sources:
        {{- $credentials | trim | nindent 8 }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
