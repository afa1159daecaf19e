{{/* The pod, alike in the Deployment and the StatefulSet. */}}
{{- define "dispatcher.pod" -}}
metadata:
  labels:
    {{- include "dispatcher.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if include "dispatcher.hasConfig" . }}
    checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
    {{- end }}
    {{- if include "dispatcher.hasSecret" . }}
    checksum/secret: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}
    {{- end }}
    kubectl.kubernetes.io/default-container: dispatcher
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "dispatcher.serviceAccount" . }}
  automountServiceAccountToken: false
  # Variables of services, such as DEETOO_PORT, would be taken for settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "dispatcher.grace" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if include "dispatcher.several" . }}
  {{- with include "dispatcher.spread" . }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  {{- end }}
  containers:
    - name: dispatcher
      image: {{ include "dispatcher.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      env:
        {{- include "dispatcher.env" . | nindent 8 }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8888
          protocol: TCP
      startupProbe:
        httpGet: {path: /healthz, port: http}
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- if .Values.preStopSeconds }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ .Values.preStopSeconds }}}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- if or (include "dispatcher.hasConfig" .) .Values.encryption.existingSecret .Values.embedded.enabled .Values.extraVolumeMounts }}
      volumeMounts:
        {{- if include "dispatcher.hasConfig" . }}
        - name: config
          mountPath: /etc/deetoo
          readOnly: true
        {{- end }}
        {{- if .Values.encryption.existingSecret }}
        - name: encryption
          mountPath: /etc/deetoo-encryption
          readOnly: true
        {{- end }}
        {{- if .Values.embedded.enabled }}
        - name: data
          mountPath: /data
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
  {{- if or (include "dispatcher.hasConfig" .) .Values.encryption.existingSecret .Values.embedded.existingClaim .Values.extraVolumes }}
  volumes:
    {{- if include "dispatcher.hasConfig" . }}
    - name: config
      configMap:
        name: {{ include "dispatcher.fullname" . }}
    {{- end }}
    {{- if .Values.encryption.existingSecret }}
    - name: encryption
      secret:
        secretName: {{ .Values.encryption.existingSecret }}
        defaultMode: 0440
        items:
          - key: {{ .Values.encryption.existingSecretKey }}
            path: keys
    {{- end }}
    {{- if and .Values.embedded.enabled .Values.embedded.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.embedded.existingClaim }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "dispatcher.spread" -}}
{{- range $topology, $when := dict "kubernetes.io/hostname" .Values.topologySpread.nodes "topology.kubernetes.io/zone" .Values.topologySpread.zones }}
{{- if $when }}
- maxSkew: 1
  topologyKey: {{ $topology }}
  whenUnsatisfiable: {{ $when }}
  labelSelector:
    matchLabels:
      {{- include "dispatcher.selector" $ | nindent 6 }}
  # Each version by itself: the pods that go must not push those that come together.
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{/* The settings: each is a variable of dispatcher serve. */}}
{{- define "dispatcher.env" -}}
- name: DEETOO_LISTEN
  value: ":8888"
- name: DEETOO_PUBLIC_URL
  value: {{ include "dispatcher.publicURL" . | quote }}
{{- if .Values.embedded.enabled }}
- name: DEETOO_DATA_DIR
  value: /data
{{- else }}
- name: DEETOO_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.redis.existingSecret | default (include "dispatcher.fullname" .) }}
      key: {{ empty .Values.redis.existingSecret | ternary "redis-url" .Values.redis.existingSecretKey }}
{{- with .Values.redis.passwordSecret }}
{{- if .name }}
- name: DEETOO_REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}
- name: DEETOO_PREFIX
  value: {{ .Values.redis.prefix | quote }}
{{- include "dispatcher.authEnv" . }}
{{- with .Values.auth.jwksUrl }}
- name: DEETOO_JWKS_URL
  value: {{ . | quote }}
{{- end }}
{{- if .Values.auth.publicKey }}
- name: DEETOO_JWT_PUBLIC_KEY_FILE
  value: /etc/deetoo/jwt-public-key.pem
{{- end }}
- name: DEETOO_JWT_LEEWAY
  value: {{ .Values.auth.leeway | quote }}
{{- if .Values.encryption.existingSecret }}
- name: DEETOO_SECRETS_KEYS_FILE
  value: /etc/deetoo-encryption/keys
{{- end }}
{{- if or .Values.types .Values.schedules }}
- name: DEETOO_TYPES
  value: /etc/deetoo/types.yaml
{{- end }}
- name: DEETOO_ALLOW_PRIVATE_TARGETS
  value: {{ .Values.targets.allowPrivate | quote }}
{{- with .Values.targets.allowCIDRs }}
- name: DEETOO_ALLOW_TARGETS
  value: {{ join "," . | quote }}
{{- end }}
- name: DEETOO_DRAIN_TIMEOUT
  value: {{ .Values.dispatcher.drainTimeout | quote }}
- name: DEETOO_ON_SHUTDOWN_TIMEOUT
  value: {{ .Values.dispatcher.onShutdownTimeout | quote }}
- name: DEETOO_MAX_JOB_SIZE
  value: {{ .Values.dispatcher.maxJobSize | int64 | quote }}
- name: DEETOO_LEASE
  value: {{ .Values.dispatcher.lease | quote }}
- name: DEETOO_LOG_FORMAT
  value: {{ .Values.dispatcher.logFormat | quote }}
- name: DEETOO_LOG_LEVEL
  value: {{ .Values.dispatcher.logLevel | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What tokens are verified, and in the test made, with. */}}
{{- define "dispatcher.authEnv" -}}
{{- with include "dispatcher.jwtSecret" . }}
- name: DEETOO_JWT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ empty $.Values.auth.existingSecret | ternary "jwt-secret" $.Values.auth.existingSecretKey }}
{{- end }}
{{- with .Values.auth.issuer }}
- name: DEETOO_JWT_ISSUER
  value: {{ . | quote }}
{{- end }}
{{- with .Values.auth.audience }}
- name: DEETOO_JWT_AUDIENCE
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Whether there is a ConfigMap, and a Secret of the chart's own. */}}
{{- define "dispatcher.hasConfig" -}}
{{- if or .Values.types .Values.schedules .Values.auth.publicKey }}yes{{ end }}
{{- end }}
{{- define "dispatcher.hasSecret" -}}
{{- if or .Values.redis.url .Values.auth.jwtSecret }}yes{{ end }}
{{- end }}
