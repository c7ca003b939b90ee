{{/* The plugin for ContextForge (contextForge.plugin): names, content, and what a pod of ContextForge needs. */}}

{{/* The beginning of the names of its objects. It leaves room for the name of a Service. */}}
{{- define "mcpgateway-operator.usage" -}}
{{- printf "%s-usage" (include "mcpgateway-operator.fullname" . | trunc 57 | trimSuffix "-") }}
{{- end }}

{{/* The Service of the plugin's port, in the form of workers.services. */}}
{{- define "mcpgateway-operator.usageService" -}}
{{- printf "%s/%s:usage" .Values.contextForge.plugin.namespace (include "mcpgateway-operator.usage" .) }}
{{- end }}

{{/* The Secret with the token, in the namespaces of ContextForge and of the release. */}}
{{- define "mcpgateway-operator.usageToken" -}}
{{- .Values.contextForge.plugin.tokenSecret.name | default (printf "%s-token" (include "mcpgateway-operator.usage" .)) }}
{{- end }}

{{/* ContextForge's plugins file: the given one with the entry of the plugin at its end. */}}
{{- define "mcpgateway-operator.pluginsFile" -}}
{{- with .Values.contextForge.plugin }}
{{- $config := dict "port" (int .port) "token_file" "/var/run/secrets/mcpgateway-usage/token" }}
{{- with .coldHealthInterval }}
{{- $_ := set $config "cold_health_interval" . }}
{{- end }}
{{- $entry := dict "name" "Usage" "kind" "mcpgateway_usage.plugin.UsagePlugin" "mode" "audit" "on_error" "ignore" "priority" 1000
  "hooks" (list "tool_pre_invoke" "prompt_post_fetch" "resource_post_fetch") "config" $config }}
{{- $file := merge (fromYaml .pluginsFile) (dict "plugin_dirs" list) }}
{{- $_ := set $file "plugins" (append ($file.plugins | default list) $entry) }}
{{- toYaml $file }}
{{- end }}
{{- end }}

{{- define "mcpgateway-operator.pluginArchive" -}}
{{- required "this chart was packed without files/mcpgateway_usage.zip" (.Files.Get "files/mcpgateway_usage.zip") | b64enc }}
{{- end }}

{{/* Of the plugin's code and its plugins file. */}}
{{- define "mcpgateway-operator.usagePluginHash" -}}
{{- printf "%s\n%s" (include "mcpgateway-operator.pluginArchive" .) (include "mcpgateway-operator.pluginsFile" .) | sha256sum | trunc 10 }}
{{- end }}

{{/* The ConfigMap of the plugin. A change of its content is a new object. */}}
{{- define "mcpgateway-operator.usagePlugin" -}}
{{- printf "%s-plugin-%s" (include "mcpgateway-operator.usage" .) (include "mcpgateway-operator.usagePluginHash" .) }}
{{- end }}

{{/*
The strategic merge patch of a Deployment that adds the plugin to ContextForge's pods. ContextForge's chart labels the
pods with the Deployment's name, which kustomize requires.
*/}}
{{- define "mcpgateway-operator.usagePatch" -}}
apiVersion: apps/v1
kind: Deployment
{{- with .Values.contextForge.plugin.podLabels.app }}
metadata:
  name: {{ . }}
{{- end }}
spec:
  template:
    spec:
      containers:
        - name: {{ .Values.contextForge.plugin.containerName }}
          env:
            - name: PLUGINS_ENABLED
              value: "true"
            - name: PLUGINS_CONFIG_FILE
              value: /opt/mcpgateway-usage/plugins.yaml
            - name: PYTHONPATH
              value: {{ include "mcpgateway-operator.usagePythonPath" . }}
          volumeMounts:
            - name: mcpgateway-usage-plugin
              mountPath: /opt/mcpgateway-usage
              readOnly: true
            - name: mcpgateway-usage-token
              mountPath: /var/run/secrets/mcpgateway-usage
              readOnly: true
      volumes:
        # Not optional: without its plugins file ContextForge would start without any plugin.
        - name: mcpgateway-usage-plugin
          configMap:
            name: {{ include "mcpgateway-operator.usagePlugin" . }}
        - name: mcpgateway-usage-token
          secret:
            secretName: {{ include "mcpgateway-operator.usageToken" . }}
            optional: true
            items:
              - key: {{ .Values.contextForge.plugin.tokenSecret.key | quote }}
                path: token
{{- end }}

{{/* PYTHONPATH of a container that sets none itself. */}}
{{- define "mcpgateway-operator.usagePythonPath" -}}
{{- list "/opt/mcpgateway-usage/mcpgateway_usage.zip" .Values.contextForge.plugin.pythonPath | compact | join ":" }}
{{- end }}
