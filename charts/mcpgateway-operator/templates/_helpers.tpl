{{/* Names, labels and small helpers that several manifests share. */}}

{{/*
Gives values that are missing their defaults. Helm deletes a value that is null, also a whole section. Every manifest
includes this first.
*/}}
{{- define "mcpgateway-operator.completeValues" -}}
{{- range $path, $default := required "this chart was packed without files/defaults.json" (.Files.Get "files/defaults.json") | fromJson }}
{{- $keys := splitList "." $path }}
{{- $section := $.Values }}
{{- range initial $keys }}
{{- if not (kindIs "map" (get $section .)) }}
{{- $_ := set $section . dict }}
{{- end }}
{{- $section = get $section . }}
{{- end }}
{{- if kindIs "invalid" (index $section (last $keys)) }}
{{- $_ := set $section (last $keys) $default }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mcpgateway-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects in the release's namespace. */}}
{{- define "mcpgateway-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/*
The name of all objects outside the release's namespace. It differs for two releases of one name in different
namespaces.
*/}}
{{- define "mcpgateway-operator.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "mcpgateway-operator.fullname" .) }}
{{- end }}

{{- define "mcpgateway-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mcpgateway-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mcpgateway-operator.leaseName" -}}
{{- default (include "mcpgateway-operator.fullname" .) .Values.leaderElection.leaseName }}
{{- end }}

{{/* The image, by digest if there is one. */}}
{{- define "mcpgateway-operator.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels of all pods of this release, including the doctor's. */}}
{{- define "mcpgateway-operator.releaseLabels" -}}
app.kubernetes.io/name: {{ include "mcpgateway-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of the operator's pods only. */}}
{{- define "mcpgateway-operator.selectorLabels" -}}
{{ include "mcpgateway-operator.releaseLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "mcpgateway-operator.labels" -}}
{{- $labels := include "mcpgateway-operator.releaseLabels" . | fromYaml }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service }}
{{- toYaml (merge $labels .Values.commonLabels) }}
{{- end }}

{{/*
The metadata of an object: (dict "root" $ "name" … "namespace" … "labels" … "annotations" …). Only root and name are
required.
*/}}
{{- define "mcpgateway-operator.metadata" -}}
{{- $labels := merge (dict) (default dict .labels) (include "mcpgateway-operator.labels" .root | fromYaml) }}
{{- $annotations := merge (dict) (default dict .annotations) .root.Values.commonAnnotations -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* "true" if a Redis is configured. */}}
{{- define "mcpgateway-operator.hasRedis" -}}
{{- if or .Values.redis.url .Values.redis.urlKey }}true{{ end }}
{{- end }}

{{/* "true" if the operator derives an owner id from the uid of kube-system. */}}
{{- define "mcpgateway-operator.asksClusterId" -}}
{{- $forRedis := and (include "mcpgateway-operator.hasRedis" .) (not .Values.redis.ownerId) }}
{{- if or $forRedis (and .Values.contextForge.url (not .Values.contextForge.ownerId)) }}true{{ end }}
{{- end }}

{{/* All worker Services, as a JSON list. */}}
{{- define "mcpgateway-operator.workerServices" -}}
{{- $services := .Values.workers.services }}
{{- if .Values.contextForge.plugin.enabled }}
{{- $services = append $services (include "mcpgateway-operator.usageService" .) }}
{{- end }}
{{- $services | toJson }}
{{- end }}

{{/* The namespaces of the worker Services, without duplicates, as a JSON list. */}}
{{- define "mcpgateway-operator.workerNamespaces" -}}
{{- $found := list }}
{{- range include "mcpgateway-operator.workerServices" . | fromJsonArray }}
{{- $found = append $found (regexReplaceAll "^(?:https?://)?([^/]+)/.*$" . "${1}") }}
{{- end }}
{{- $found | uniq | sortAlpha | toJson }}
{{- end }}

{{/* The subjects of every binding. */}}
{{- define "mcpgateway-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "mcpgateway-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
