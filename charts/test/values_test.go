package charttest

import (
	"strings"
	"testing"
)

// TestBadValues sees that what is wrong is refused, in words that say where.
func TestBadValues(t *testing.T) {
	good := "redis: {existingSecret: r}\nauth: {existingSecret: a}\n"
	embedded := "embedded: {enabled: true}\nreplicas: 1\n"
	for text, want := range map[string][]string{
		"":                           {"redis.existingSecret", "redis.url", "embedded.enabled"},
		"redis: {existingSecret: r}": {"one of auth.existingSecret, auth.jwtSecret, auth.jwksUrl and auth.publicKey must be set"},
		good + "auth: {jwksUrl: 'https://id.example.org/jwks'}":                   {"only one"},
		"redis: {existingSecret: r, url: 'redis://r'}\nauth: {existingSecret: a}": {"redis.existingSecret and redis.url"},
		"redis: {url: 'http://:short@r'}\nauth: {existingSecret: a}":              {"redis.url must begin with redis://"},
		"embedded: {enabled: true}":                                               {"at '/replicas': value must be 1"},
		"embedded: {enabled: true}\nreplicas: 3":                                  {"at '/replicas': value must be 1"},
		embedded + "redis: {url: 'redis://r'}":                                    {"at '/redis/url': value must be ''"},
		embedded + "redis: {existingSecret: r}":                                   {"at '/redis/existingSecret': value must be ''"},
		embedded + "autoscaling: {enabled: true}":                                 {"at '/autoscaling/enabled': value must be false"},
		embedded + "keda: {enabled: true, triggers: [{type: cpu, metadata: {}}]}": {"at '/keda/enabled': value must be false"},
		good + "autoscaling: {enabled: true}\nkeda: {enabled: true}":              {"at '/keda/enabled': value must be false"},
		good + "keda: {enabled: true}":                                            {"keda.backlog or keda.triggers"},
		good + "keda: {enabled: true, backlog: [{type: a, waiting: 1}]}":          {"keda.tokenSecret.name"},
		good + "keda: {backlog: [{type: a}]}":                                     {"at '/keda/backlog/0'", "missing property 'waiting'"},
		good + "autoscaling: {enabled: true, minReplicas: 9, maxReplicas: 3}":     {"minReplicas must not be more than maxReplicas"},
		good + "autoscaling: {enabled: true, targetCPU: 0}":                       {"autoscaling.targetCPU or autoscaling.metrics"},
		good + "replicaz: 3":                                                      {"additional properties 'replicaz' not allowed"},
		good + "image: {tagg: x}":                                                 {"at '/image'", "'tagg' not allowed"},
		good + "replicas: two":                                                    {"at '/replicas'", "got string, want integer"},
		good + "image: {pullPolicy: Sometimes}":                                   {"at '/image/pullPolicy'", "'Always'"},
		good + "image: {digest: 'md5:0'}":                                         {"at '/image/digest'"},
		good + "dispatcher: {drainTimeout: 500ms}":                                {"at '/dispatcher/drainTimeout'"},
		good + "dispatcher: {drainTimeout: ''}":                                   {"at '/dispatcher/drainTimeout'"},
		good + "dispatcher: {drainTimeout: 30}":                                   {"at '/dispatcher/drainTimeout'", "got number, want string"},
		good + "dispatcher: {onShutdownTimeout: drop}":                            {"at '/dispatcher/onShutdownTimeout'", "'release'"},
		good + "dispatcher: {publicUrl: jobs.example.org}":                        {"at '/dispatcher/publicUrl'"},
		"redis: {existingSecret: r}\nauth: {jwtSecret: short}":                    {"at '/auth/jwtSecret'", "minLength: got 5, want 32"},
		good + "targets: {allowCIDRs: [10.0.0.1]}":                                {"at '/targets/allowCIDRs/0'"},
		good + "types: {email: {concurrency: 3}}":                                 {"at '/types/email'", "missing property 'target'"},
		good + "types: {email: {target: 'ftp://x'}}":                              {"at '/types/email/target'"},
		good + "schedules: {nightly: {cron: '@daily'}}":                           {"at '/schedules/nightly'", "missing property 'type'"},
		good + "ingress: {enabled: true}":                                         {"ingress.hosts"},
		good + "httpRoute: {enabled: true}":                                       {"httpRoute.parentRefs"},
		good + "podSecurityContext: {runAsNonRoot: false}":                        {"at '/podSecurityContext/runAsNonRoot': value must be true"},
		good + "securityContext: {allowPrivilegeEscalation: true}":                {"at '/securityContext/allowPrivilegeEscalation': value must be false"},
		good + "probes: {liveness: {httpGet: {path: /readyz}}}":                   {"at '/probes/liveness'", "'httpGet' not allowed"},
		good + "service: {port: 70000}":                                           {"at '/service/port'", "maximum"},
		good + "extraEnv: [{value: x}]":                                           {"at '/extraEnv/0'", "missing property 'name'"},
		good + "topologySpread: {nodes: Never}":                                   {"at '/topologySpread/nodes'"},
		good + "pdb: {maxUnavailable: 0}":                                         {"at '/pdb/maxUnavailable'"},
	} {
		given := map[string]any{}
		for _, part := range strings.SplitAfter(text, "\n") { // a key may come twice: the later goes over the earlier
			given = with(given, values(t, part))
		}
		_, err := template(t, given)
		if err == nil {
			t.Errorf("these were taken:\n%s", text)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s\n%v\ndoes not say %q", text, err, w)
			}
		}
		if strings.Contains(err.Error(), "short") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}
