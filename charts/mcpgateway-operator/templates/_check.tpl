{{/*
What values.schema.json cannot say: values that do not go together. All that is wrong is said at once.
*/}}
{{- define "mcpgateway-operator.check" -}}
{{- $wrong := list }}
{{- with .Values.workers }}
{{- if not (or .services .endpoints) }}
{{- $wrong = append $wrong "workers.services or workers.endpoints: name at least one, such as --set 'workers.services={gateways/contextforge-usage:usage}'" }}
{{- end }}
{{- $asked := concat .services .endpoints | join " " }}
{{- $tls := or .tls.serverName .tls.ca.secret .tls.ca.configMap .tls.clientCertificate.existingSecret }}
{{- if and $tls (not (contains "https://" $asked)) }}
{{- $wrong = append $wrong "workers.tls: needs a Service or an endpoint that begins with https://" }}
{{- end }}
{{- if and .tls.ca.secret .tls.ca.configMap }}
{{- $wrong = append $wrong "workers.tls.ca: secret or configMap, not both" }}
{{- end }}
{{- end }}
{{- with .Values.redis }}
{{- if and .url .urlKey }}
{{- $wrong = append $wrong "redis.url, redis.urlKey: one of them" }}
{{- end }}
{{- if and .urlKey (not .existingSecret) }}
{{- $wrong = append $wrong "redis.urlKey: needs redis.existingSecret, whose key it is" }}
{{- end }}
{{- if and (not .url) (not .urlKey) (or .username .existingSecret .tls.ca.secret .tls.ca.configMap) }}
{{- $wrong = append $wrong "redis.url: is needed for redis.username, redis.existingSecret and redis.tls" }}
{{- end }}
{{- if and .username (not .urlKey) (not (and .existingSecret .passwordKey)) }}
{{- $wrong = append $wrong "redis.username: needs a password, so redis.existingSecret and redis.passwordKey" }}
{{- end }}
{{- if and .url (or .tls.ca.secret .tls.ca.configMap) (not (hasPrefix "rediss://" .url)) }}
{{- $wrong = append $wrong "redis.tls.ca: needs a redis.url that begins with rediss://" }}
{{- end }}
{{- if and .tls.ca.secret .tls.ca.configMap }}
{{- $wrong = append $wrong "redis.tls.ca: secret or configMap, not both" }}
{{- end }}
{{- end }}
{{- if and .Values.api.enabled (not .Values.api.token.existingSecret) }}
{{- $wrong = append $wrong "api.token.existingSecret: is needed where the API is served" }}
{{- end }}
{{- $ports := list (int .Values.health.port) }}
{{- if .Values.metrics.enabled }}{{ $ports = append $ports (int .Values.metrics.port) }}{{ end }}
{{- if .Values.api.enabled }}{{ $ports = append $ports (int .Values.api.port) }}{{ end }}
{{- if ne (len $ports) (len (uniq $ports)) }}
{{- $wrong = append $wrong "health.port, metrics.port, api.port: each a port of its own" }}
{{- end }}
{{- with .Values.metrics }}
{{- if and .serviceMonitor.enabled .podMonitor.enabled }}
{{- $wrong = append $wrong "metrics.serviceMonitor.enabled, metrics.podMonitor.enabled: one of them, or every sample is taken twice" }}
{{- end }}
{{- if and (or .serviceMonitor.enabled .podMonitor.enabled) (not .enabled) }}
{{- $wrong = append $wrong "metrics.enabled: is needed for a ServiceMonitor or a PodMonitor" }}
{{- end }}
{{- if and .serviceMonitor.enabled (not $.Values.service.enabled) }}
{{- $wrong = append $wrong "service.enabled: is needed for a ServiceMonitor; a PodMonitor does without" }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.redis.enabled (not .Values.networkPolicy.redis.podLabels) }}
{{- $wrong = append $wrong "networkPolicy.redis.podLabels: name the labels of Redis' pods, or the policy would choose every pod" }}
{{- end }}
{{- if $wrong }}
{{- printf "these values do not go together:\n  - %s" (join "\n  - " $wrong) | fail }}
{{- end }}
{{- end }}
