{{/*
Checks that values.schema.json cannot express: values that contradict each other. All problems are reported at once.
*/}}
{{- define "mcpgateway-operator.check" -}}
{{- $problems := list }}
{{- if and (kindIs "bool" .Values.enabled) (not .Values.enabled) }}
{{- $problems = append $problems "enabled: only Helm evaluates this, as the condition of a dependency; set `condition` in the parent's Chart.yaml, or leave this chart out" }}
{{- end }}
{{- with .Values.workers }}
{{- if not (or .services .endpoints $.Values.contextForge.plugin.enabled) }}
{{- $problems = append $problems "workers.services or workers.endpoints: set at least one, for example --set 'workers.services={gateways/contextforge-usage:usage}', or set contextForge.plugin.enabled" }}
{{- end }}
{{- $sources := concat .services .endpoints | join " " }}
{{- $tls := or .tls.serverName .tls.ca.secret .tls.ca.configMap .tls.clientCertificate.existingSecret }}
{{- if and $tls (not (contains "https://" $sources)) }}
{{- $problems = append $problems "workers.tls: needs a Service or an endpoint that begins with https://" }}
{{- end }}
{{- if and .tls.ca.secret .tls.ca.configMap }}
{{- $problems = append $problems "workers.tls.ca: secret or configMap, not both" }}
{{- end }}
{{- end }}
{{- with .Values.redis }}
{{- if and .url .urlKey }}
{{- $problems = append $problems "redis.url, redis.urlKey: set only one of them" }}
{{- end }}
{{- if and .urlKey (not .existingSecret) }}
{{- $problems = append $problems "redis.urlKey: needs redis.existingSecret, the Secret that has this key" }}
{{- end }}
{{- if and (not .url) (not .urlKey) (or .username .existingSecret .tls.ca.secret .tls.ca.configMap .tls.clientCertificate.existingSecret) }}
{{- $problems = append $problems "redis.url: required by redis.username, redis.existingSecret and redis.tls" }}
{{- end }}
{{- if and .username (not .urlKey) (not (and .existingSecret .passwordKey)) }}
{{- $problems = append $problems "redis.username: needs a password: set redis.existingSecret and redis.passwordKey" }}
{{- end }}
{{- if and .url (or .tls.ca.secret .tls.ca.configMap) (not (hasPrefix "rediss://" .url)) }}
{{- $problems = append $problems "redis.tls.ca: needs a redis.url that begins with rediss://" }}
{{- end }}
{{- if and .url .tls.clientCertificate.existingSecret (not (hasPrefix "rediss://" .url)) }}
{{- $problems = append $problems "redis.tls.clientCertificate: needs a redis.url that begins with rediss://" }}
{{- end }}
{{- if and .tls.ca.secret .tls.ca.configMap }}
{{- $problems = append $problems "redis.tls.ca: secret or configMap, not both" }}
{{- end }}
{{- end }}
{{- with .Values.contextForge }}
{{- if and .url (not .tokenSecret.name) }}
{{- $problems = append $problems "contextForge.tokenSecret.name: required by contextForge.url" }}
{{- end }}
{{- $added := concat .registration.namespaces .registration.allowHeaders .registration.secretNamespaces .registration.adoptionNamespaces }}
{{- if and (not .url) (or .tokenSecret.name .caSecret.name .ownerId .mirrorNamespace $added) }}
{{- $problems = append $problems "contextForge.url: required by contextForge.tokenSecret, caSecret, ownerId, mirrorNamespace and registration" }}
{{- end }}
{{- if and .url .caSecret.name (not (hasPrefix "https://" .url)) }}
{{- $problems = append $problems "contextForge.caSecret: needs a contextForge.url that begins with https://" }}
{{- end }}
{{- $watched := $.Values.watch.namespaces }}
{{- if and .mirrorNamespace $.Values.watch.selector }}
{{- $problems = append $problems "contextForge.mirrorNamespace: excludes watch.selector, which could hide the mirrored McpGateways" }}
{{- end }}
{{- if and .mirrorNamespace $watched (not (has .mirrorNamespace $watched)) }}
{{- $problems = append $problems (printf "contextForge.mirrorNamespace: %s is not in watch.namespaces" .mirrorNamespace) }}
{{- end }}
{{- with .registration }}
{{- range .namespaces }}
{{- if and $watched (not (has . $watched)) }}
{{- $problems = append $problems (printf "contextForge.registration.namespaces: %s is not in watch.namespaces" .) }}
{{- end }}
{{- end }}
{{- $registered := .namespaces | default $watched }}
{{- range concat .secretNamespaces .adoptionNamespaces | uniq }}
{{- if and $registered (not (has . $registered)) }}
{{- $problems = append $problems (printf "contextForge.registration.secretNamespaces, adoptionNamespaces: no McpGateway of %s may be registered" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .plugin }}
{{- if and .injection.enabled (not .enabled) }}
{{- $problems = append $problems "contextForge.plugin.enabled: required by contextForge.plugin.injection" }}
{{- end }}
{{- if .enabled }}
{{- if not .namespace }}
{{- $problems = append $problems "contextForge.plugin.namespace: set the namespace of ContextForge" }}
{{- end }}
{{- if not .podLabels }}
{{- $problems = append $problems "contextForge.plugin.podLabels: set the labels of ContextForge's pods, with its chart app: RELEASE-mcp-stack-mcpgateway" }}
{{- end }}
{{- if not .pluginsFile }}
{{- $problems = append $problems "contextForge.plugin.pluginsFile: pass the plugins file that ContextForge has (--set-file), because the chart's takes its place and would drop every plugin in it; 'plugins: []' if it has none" }}
{{- end }}
{{- $file := fromYaml .pluginsFile }}
{{- if or (hasKey $file "Error") (not (kindIs "slice" ($file.plugins | default list))) }}
{{- $problems = append $problems "contextForge.plugin.pluginsFile: is not a plugins file of ContextForge, which is YAML with a list of plugins" }}
{{- else if contains "mcpgateway_usage.plugin" .pluginsFile }}
{{- $problems = append $problems "contextForge.plugin.pluginsFile: leave out the entry of mcpgateway_usage, which the chart adds" }}
{{- end }}
{{- if $.Values.workers.token.existingSecret }}
{{- $problems = append $problems "workers.token: excludes contextForge.plugin, whose token is contextForge.plugin.tokenSecret" }}
{{- end }}
{{- if or (lt (int .port) 2) (gt (int .port) 65534) }}
{{- $problems = append $problems "contextForge.plugin.port: must be between 2 and 65534" }}
{{- end }}
{{- if and .injection.enabled (not ($.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")) }}
{{- $problems = append $problems "contextForge.plugin.injection: this cluster does not serve admissionregistration.k8s.io/v1 MutatingAdmissionPolicy (Kubernetes 1.36 or later); patch ContextForge's Deployment instead, or pass --api-versions admissionregistration.k8s.io/v1/MutatingAdmissionPolicy to helm template" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.api.enabled (not .Values.api.token.existingSecret) }}
{{- $problems = append $problems "api.token.existingSecret: required by api.enabled" }}
{{- end }}
{{- $ports := list (int .Values.health.port) }}
{{- if .Values.metrics.enabled }}{{ $ports = append $ports (int .Values.metrics.port) }}{{ end }}
{{- if .Values.api.enabled }}{{ $ports = append $ports (int .Values.api.port) }}{{ end }}
{{- if ne (len $ports) (len (uniq $ports)) }}
{{- $problems = append $problems "health.port, metrics.port, api.port: must differ" }}
{{- end }}
{{- with .Values.metrics }}
{{- if and .serviceMonitor.enabled .podMonitor.enabled }}
{{- $problems = append $problems "metrics.serviceMonitor.enabled, metrics.podMonitor.enabled: enable only one of them, or every sample is taken twice" }}
{{- end }}
{{- if and (or .serviceMonitor.enabled .podMonitor.enabled) (not .enabled) }}
{{- $problems = append $problems "metrics.enabled: required by a ServiceMonitor or a PodMonitor" }}
{{- end }}
{{- if and .serviceMonitor.enabled (not $.Values.service.enabled) }}
{{- $problems = append $problems "service.enabled: required by a ServiceMonitor; a PodMonitor needs no Service" }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.redis.enabled (not .Values.networkPolicy.redis.podLabels) }}
{{- $problems = append $problems "networkPolicy.redis.podLabels: set the labels of Redis' pods, or the policy would select every pod" }}
{{- end }}
{{- if $problems }}
{{- printf "these values contradict each other:\n  - %s" (join "\n  - " $problems) | fail }}
{{- end }}
{{- end }}
