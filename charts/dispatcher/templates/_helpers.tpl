{{- define "dispatcher.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Names of objects: the release's, and the chart's unless that is in it. 50 characters leave room for suffixes. */}}
{{- define "dispatcher.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "dispatcher.name" . }}
{{- (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "dispatcher.selector" -}}
app.kubernetes.io/name: {{ include "dispatcher.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: dispatcher
{{- end }}

{{- define "dispatcher.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: deetoo
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "dispatcher.labels" -}}
{{ include "dispatcher.selector" . }}
{{ include "dispatcher.commonLabels" . }}
{{- end }}

{{- define "dispatcher.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "dispatcher.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "dispatcher.fullname" .) "default") }}
{{- end }}

{{- define "dispatcher.serviceURL" -}}
http://{{ include "dispatcher.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end }}

{{/* Where handlers reach the API. */}}
{{- define "dispatcher.publicURL" -}}
{{- if .Values.dispatcher.publicUrl }}
{{- .Values.dispatcher.publicUrl }}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames (not (hasPrefix "*" (first .Values.httpRoute.hostnames))) }}
{{- printf "https://%s" (first .Values.httpRoute.hostnames) }}
{{- else if and .Values.ingress.enabled .Values.ingress.hosts (not (hasPrefix "*" (first .Values.ingress.hosts))) }}
{{- printf "%s://%s" (empty .Values.ingress.tls | ternary "http" "https") (first .Values.ingress.hosts) }}
{{- else }}
{{- include "dispatcher.serviceURL" . }}
{{- end }}
{{- end }}

{{/* Seconds of a duration such as 1h30m or 90s; the schema lets no other through. */}}
{{- define "dispatcher.seconds" -}}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9]+[hms]" . -1 }}
{{- $sum = add $sum (mul (regexReplaceAll "^0+|[hms]$" . "" | int) (get (dict "h" 3600 "m" 60 "s" 1) (regexFind "[hms]" .))) }}
{{- end }}
{{- $sum }}
{{- end }}

{{/*
How long a pod may take to end: the wait before its SIGTERM, its drain, and then 5 s each that the dispatcher
allows aborted attempts to be settled and requests to end, and 5 s to spare.
*/}}
{{- define "dispatcher.grace" -}}
{{- add .Values.preStopSeconds (include "dispatcher.seconds" .Values.dispatcher.drainTimeout | int) 15 }}
{{- end }}

{{/* Secret with the HS256 secret, empty if there is none. */}}
{{- define "dispatcher.jwtSecret" -}}
{{- .Values.auth.existingSecret | default (empty .Values.auth.jwtSecret | ternary "" (include "dispatcher.fullname" .)) }}
{{- end }}

{{/* The test pod needs a token: one that it makes, or is given. */}}
{{- define "dispatcher.testable" -}}
{{- if and .Values.tests.enabled (or (include "dispatcher.jwtSecret" .) .Values.tests.tokenSecret.name) }}yes{{ end }}
{{- end }}

{{/* Whether a delivery can reach a pod of this cluster. */}}
{{- define "dispatcher.reachesPods" -}}
{{- if or .Values.targets.allowPrivate .Values.targets.allowCIDRs }}yes{{ end }}
{{- end }}

{{/* More than one pod, now or later. */}}
{{- define "dispatcher.several" -}}
{{- if and (not .Values.embedded.enabled) (or .Values.autoscaling.enabled .Values.keda.enabled (gt (int .Values.replicas) 1)) }}yes{{ end }}
{{- end }}

{{/* What the schema cannot say in words that help. */}}
{{- define "dispatcher.check" -}}
{{- $v := .Values }}
{{- if not $v.embedded.enabled }}
  {{- if not (or $v.redis.existingSecret $v.redis.url) }}
    {{- fail "redis.existingSecret (a Secret with the URL of a Redis) or redis.url must be set; or embedded.enabled, to keep the jobs on a volume" }}
  {{- end }}
{{- end }}
{{- if and $v.redis.existingSecret $v.redis.url }}
  {{- fail "redis.existingSecret and redis.url must not be set together" }}
{{- end }}
{{- if and $v.redis.url (not (regexMatch "^rediss?(\\+(sentinel|cluster))?://." $v.redis.url)) }}
  {{- fail "redis.url must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://" }}{{/* the schema would show it, and the password in it */}}
{{- end }}
{{- $sources := 0 }}
{{- range list $v.auth.existingSecret $v.auth.jwtSecret $v.auth.jwksUrl $v.auth.publicKey }}
  {{- if . }}{{ $sources = add $sources 1 }}{{ end }}
{{- end }}
{{- if gt (int $sources) 1 }}
  {{- fail "of auth.existingSecret, auth.jwtSecret, auth.jwksUrl and auth.publicKey only one must be set" }}
{{- end }}
{{- if and (eq (int $sources) 0) (not $v.embedded.enabled) }}
  {{- fail "one of auth.existingSecret, auth.jwtSecret, auth.jwksUrl and auth.publicKey must be set, so that all pods verify tokens alike" }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) }}
  {{- fail "ingress.hosts must have a host" }}
{{- end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) }}
  {{- fail "httpRoute.parentRefs must name a gateway" }}
{{- end }}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.metrics) (eq (int $v.autoscaling.targetCPU) 0) }}
  {{- fail "autoscaling.targetCPU or autoscaling.metrics must be set" }}
{{- end }}
{{- if $v.keda.enabled }}
  {{- if not (or $v.keda.backlog $v.keda.triggers) }}
    {{- fail "keda.backlog or keda.triggers must be set" }}
  {{- end }}
  {{- if and $v.keda.backlog (not $v.keda.tokenSecret.name) }}
    {{- fail "keda.tokenSecret.name must be set: keda.backlog is asked for with a token" }}
  {{- end }}
{{- end }}
{{- range list $v.autoscaling $v.keda }}
  {{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
    {{- fail "minReplicas must not be more than maxReplicas" }}
  {{- end }}
{{- end }}
{{- end }}
