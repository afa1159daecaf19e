package charttest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestLint(t *testing.T) {
	for name, given := range matrix(t) {
		for _, m := range lint.RunAll(chartDir, given, namespace).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// TestWhatMustNeverBeMissing holds for all values.
func TestWhatMustNeverBeMissing(t *testing.T) {
	for name, given := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			all := render(t, given)
			sound(t, all)
			p := pod(t, all)
			hardened(t, p.Spec)
			service := one[*corev1.Service](t, all)
			if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(p.Labels)) {
				t.Errorf("the Service selects %v, the pods have %v", service.Spec.Selector, p.Labels)
			}
			c := p.Spec.Containers[0]
			if len(c.Ports) != 1 || c.Ports[0].Name != service.Spec.Ports[0].TargetPort.StrVal {
				t.Errorf("the Service's port leads nowhere: %v, %v", service.Spec.Ports, c.Ports)
			}
			probed(t, c)
			mounted(t, p.Spec)
			if _, limited := c.Resources.Limits[corev1.ResourceMemory]; !limited || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
				t.Errorf("resources: %v", c.Resources)
			}
			if p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks {
				t.Error("variables of services can be taken for settings")
			}
			for _, test := range only[*corev1.Pod](all) {
				hardened(t, test.Spec)
				if test.Annotations["helm.sh/hook"] != "test" || test.Spec.RestartPolicy != corev1.RestartPolicyNever {
					t.Errorf("test pod: %v %s", test.Annotations, test.Spec.RestartPolicy)
				}
				if labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(test.Labels)) {
					t.Error("the Service sends requests to the test's pod")
				}
			}
		})
	}
}

// sound is what all objects have.
func sound(t *testing.T, all objects) {
	for _, o := range all {
		m, err := meta.Accessor(o)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("%T %s", o, m.GetName())
		if errs := validation.IsDNS1123Subdomain(m.GetName()); len(errs) > 0 {
			t.Errorf("%s: %v", id, errs)
		}
		if strings.Contains(m.GetName(), "extra") { // the user's own
			continue
		}
		if m.GetNamespace() != namespace {
			t.Errorf("%s is in namespace %q", id, m.GetNamespace())
		}
		for _, label := range []string{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
			if v := m.GetLabels()[label]; v == "" || len(validation.IsValidLabelValue(v)) > 0 {
				t.Errorf("%s: label %s is %q", id, label, v)
			}
		}
	}
}

// hardened is Kubernetes' restricted Pod Security Standard, and more.
func hardened(t *testing.T, p corev1.PodSpec) {
	t.Helper()
	if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken || p.ServiceAccountName == "" {
		t.Error("a token of the service account is mounted")
	}
	if s := p.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's security: %+v", s)
	}
	if p.HostNetwork || p.HostPID || p.HostIPC {
		t.Error("the pod shares the host's")
	}
	for _, c := range p.Containers {
		if s := c.SecurityContext; s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil ||
			!*s.ReadOnlyRootFilesystem || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("the security of container %s: %+v", c.Name, s)
		}
		if c.Image == "" || strings.HasSuffix(c.Image, ":") || strings.HasSuffix(c.Image, ":latest") {
			t.Errorf("image %q", c.Image)
		}
	}
}

// probed sees that only readiness asks the Redis.
func probed(t *testing.T, c corev1.Container) {
	t.Helper()
	for what, p := range map[string]struct {
		probe *corev1.Probe
		path  string
	}{"startup": {c.StartupProbe, "/healthz"}, "liveness": {c.LivenessProbe, "/healthz"}, "readiness": {c.ReadinessProbe, "/readyz"}} {
		if p.probe == nil || p.probe.HTTPGet == nil || p.probe.HTTPGet.Path != p.path || p.probe.HTTPGet.Port.StrVal != "http" || p.probe.TimeoutSeconds < 2 || p.probe.FailureThreshold < 2 {
			t.Errorf("%s: %+v", what, p.probe)
		}
	}
}

// mounted sees that each mount has its volume, and each file that a setting names is in a mount.
func mounted(t *testing.T, p corev1.PodSpec) {
	t.Helper()
	volumes := map[string]bool{"data": true} // in a StatefulSet: a claim's
	for _, v := range p.Volumes {
		volumes[v.Name] = true
	}
	c := p.Containers[0]
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("there is no volume %s", m.Name)
		}
		if !m.ReadOnly && m.MountPath != "/data" {
			t.Errorf("%s can be written to", m.MountPath)
		}
	}
	for _, e := range c.Env {
		if file := e.Value; strings.HasPrefix(file, "/") && !strings.Contains(file, ":") && !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return file == m.MountPath || strings.HasPrefix(file, m.MountPath+"/")
		}) {
			t.Errorf("%s is %s, and nothing is mounted there", e.Name, file)
		}
	}
}

func TestNoSecretOutsideASecret(t *testing.T) {
	const password, jwt = "pa55word-of-redis", "jwt-secret-of-at-least-32-bytes!"
	given := values(t, fmt.Sprintf("redis: {url: %q}\nauth: {jwtSecret: %q}", "redis://:"+password+"@redis:6379", jwt))
	files, err := template(t, given)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range files {
		if strings.HasSuffix(file, "/secret.yaml") {
			if !strings.Contains(text, password) || !strings.Contains(text, jwt) {
				t.Errorf("the Secret lacks what it is for:\n%s", text)
			}
		} else if strings.Contains(text, password) || strings.Contains(text, jwt) {
			t.Errorf("%s has a secret:\n%s", file, text)
		}
	}
}

// TestExistingSecretsComeFirst sees that nothing of the chart's own is made where one is named.
func TestExistingSecretsComeFirst(t *testing.T) {
	all := render(t, matrix(t)["redis"])
	if s := only[*corev1.Secret](all); len(s) > 0 {
		t.Errorf("%d Secrets are made", len(s))
	}
	from := map[string]string{}
	for _, e := range pod(t, all).Spec.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			from[e.Name] = e.ValueFrom.SecretKeyRef.Name + "/" + e.ValueFrom.SecretKeyRef.Key
		}
	}
	if want := map[string]string{"DEETOO_REDIS_URL": "deetoo-redis/url", "DEETOO_JWT_SECRET": "deetoo-jwt/jwt-secret"}; !maps.Equal(from, want) {
		t.Errorf("%v", from)
	}
}

// TestPodsEndInTheirOwnTime sees that Kubernetes' patience outlasts the drain.
func TestPodsEndInTheirOwnTime(t *testing.T) {
	for timeout, want := range map[string]time.Duration{"0": 0, "0s": 0, "08s": 8 * time.Second, "30s": 30 * time.Second, "5m": 5 * time.Minute, "1h5m30s": time.Hour + 5*time.Minute + 30*time.Second} {
		for _, before := range []int{0, 5} {
			p := pod(t, render(t, with(matrix(t)["redis"], values(t, fmt.Sprintf("dispatcher: {drainTimeout: %q}\npreStopSeconds: %d", timeout, before)))))
			if got := time.Duration(*p.Spec.TerminationGracePeriodSeconds) * time.Second; got != want+time.Duration(before+15)*time.Second {
				t.Errorf("drain %s after %d s: grace %s", timeout, before, got)
			}
			if l := p.Spec.Containers[0].Lifecycle; (l != nil) != (before > 0) || l != nil && l.PreStop.Sleep.Seconds != int64(before) {
				t.Errorf("lifecycle %+v", l)
			}
		}
	}
}

// TestChangesRestartPods sees that pods are replaced when what they read at start changes.
func TestChangesRestartPods(t *testing.T) {
	base := matrix(t)["inline"]
	annotations := func(over string) map[string]string { return pod(t, render(t, with(base, values(t, over)))).Annotations }
	before := annotations("types: {a: {target: https://a.example.org}}")
	if before["checksum/config"] == "" || before["checksum/secret"] == "" {
		t.Fatalf("%v", before)
	}
	if again := annotations("types: {a: {target: https://a.example.org}}"); !maps.Equal(again, before) {
		t.Errorf("%v, then %v: an upgrade that changes nothing restarts the pods", before, again)
	}
	for changed, over := range map[string]string{
		"checksum/config": "types: {a: {target: https://b.example.org}}",
		"checksum/secret": "types: {a: {target: https://a.example.org}}\nredis: {url: 'redis://other:6379'}",
	} {
		if annotations(over)[changed] == before[changed] {
			t.Errorf("%s stays the same", changed)
		}
	}
}

func TestEmbeddedIsOnePodWithAVolume(t *testing.T) {
	for _, name := range []string{"embedded", "embedded-claim"} {
		all := render(t, matrix(t)[name])
		s := one[*appsv1.StatefulSet](t, all)
		if *s.Spec.Replicas != 1 || len(only[*appsv1.Deployment](all)) > 0 || len(only[*policyv1.PodDisruptionBudget](all)) > 0 || len(only[*corev1.Secret](all)) > 0 {
			t.Errorf("%s: %d replicas, %d objects", name, *s.Spec.Replicas, len(all))
		}
		if n := len(s.Spec.VolumeClaimTemplates); (n == 1) != (name == "embedded") {
			t.Errorf("%s: %d claims", name, n)
		}
		for _, e := range s.Spec.Template.Spec.Containers[0].Env {
			if strings.HasPrefix(e.Name, "DEETOO_REDIS") {
				t.Errorf("%s: %s", name, e.Name)
			}
		}
	}
}

func TestAutoscalersOwnTheReplicas(t *testing.T) {
	hpa := render(t, matrix(t)["cluster"])
	if d := one[*appsv1.Deployment](t, hpa); d.Spec.Replicas != nil || one[*autoscalingv2.HorizontalPodAutoscaler](t, hpa).Spec.ScaleTargetRef.Name != d.Name {
		t.Errorf("replicas %v of %s", d.Spec.Replicas, d.Name)
	}
	keda := render(t, matrix(t)["keda"])
	d, s := one[*appsv1.Deployment](t, keda), one[*kedav1alpha1.ScaledObject](t, keda)
	if d.Spec.Replicas != nil || s.Spec.ScaleTargetRef.Name != d.Name || len(s.Spec.Triggers) != 3 {
		t.Errorf("replicas %v, %+v", d.Spec.Replicas, s.Spec)
	}
	first := s.Spec.Triggers[1]
	if first.Metadata["url"] != "http://jobs.hooks.svc:80/v1/types/report/stats" || first.Metadata["targetValue"] != "1000000" || first.AuthenticationRef.Name != one[*kedav1alpha1.TriggerAuthentication](t, keda).Name {
		t.Errorf("%+v", first)
	}
	for _, name := range []string{"cluster", "keda", "redis"} {
		if one[*policyv1.PodDisruptionBudget](t, render(t, matrix(t)[name])).Spec.MaxUnavailable == nil {
			t.Errorf("%s: no budget", name)
		}
	}
}

func TestWaysIn(t *testing.T) {
	route := one[*gatewayv1.HTTPRoute](t, render(t, matrix(t)["cluster"]))
	service := one[*corev1.Service](t, render(t, matrix(t)["cluster"]))
	if b := route.Spec.Rules[0].BackendRefs[0]; string(b.Name) != service.Name || *b.Port != service.Spec.Ports[0].Port || string(route.Spec.Hostnames[0]) != "jobs.example.org" {
		t.Errorf("%+v", route.Spec)
	}
	in := one[*networkingv1.Ingress](t, render(t, matrix(t)["keda"]))
	if len(in.Spec.Rules) != 2 || in.Spec.Rules[1].HTTP.Paths[0].Backend.Service.Name != "jobs" || *in.Spec.IngressClassName != "nginx" || len(in.Spec.TLS) != 1 {
		t.Errorf("%+v", in.Spec)
	}
	for name, want := range map[string]string{"cluster": "https://jobs.example.org", "keda": "https://jobs.example.org", "redis": "http://mail-dispatcher.hooks.svc:80"} {
		if got := environment(t, name)["DEETOO_PUBLIC_URL"]; got != want {
			t.Errorf("%s: handlers call back at %s", name, got)
		}
	}
}

func environment(t *testing.T, name string) map[string]string {
	env := map[string]string{}
	for _, e := range pod(t, render(t, matrix(t)[name])).Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	return env
}

// TestNetworkPolicy sees that it lets through what the dispatcher needs, and that the
// cloud's metadata service is out of reach whatever targets are allowed.
func TestNetworkPolicy(t *testing.T) {
	for name, private := range map[string]bool{"sentinel": true, "cluster": false, "embedded": false} {
		p := one[*networkingv1.NetworkPolicy](t, render(t, matrix(t)[name])).Spec
		if len(p.PolicyTypes) != 2 || p.Ingress[0].Ports[0].Port.StrVal != "http" {
			t.Errorf("%s: %+v", name, p)
		}
		ports := map[int32]bool{}
		var except []string
		for _, rule := range p.Egress {
			for _, port := range rule.Ports {
				ports[port.Port.IntVal] = true
			}
			for _, to := range rule.To {
				if to.IPBlock != nil {
					except = append(except, to.IPBlock.Except...)
				}
			}
		}
		if !ports[53] || ports[6379] != (name != "embedded") {
			t.Errorf("%s: ports %v", name, ports)
		}
		if !slices.Contains(except, "169.254.0.0/16") || !slices.Contains(except, "fe80::/10") || slices.Contains(except, "10.0.0.0/8") == private {
			t.Errorf("%s: all but %v", name, except)
		}
	}
}

func TestSpreadCountsEachVersionByItself(t *testing.T) {
	all := pod(t, render(t, matrix(t)["redis"])).Spec.TopologySpreadConstraints
	if len(all) != 2 {
		t.Fatalf("%d", len(all))
	}
	for _, c := range all {
		if c.WhenUnsatisfiable != corev1.ScheduleAnyway || !slices.Equal(c.MatchLabelKeys, []string{"pod-template-hash"}) || c.LabelSelector == nil {
			t.Errorf("%+v", c)
		}
	}
	if some := pod(t, render(t, matrix(t)["keda"])).Spec.TopologySpreadConstraints; len(some) != 1 || some[0].WhenUnsatisfiable != corev1.DoNotSchedule {
		t.Errorf("%+v", some)
	}
}

// TestNotes sees that what is told next can be done.
func TestNotes(t *testing.T) {
	for name, given := range matrix(t) {
		files, err := template(t, given)
		if err != nil {
			t.Fatal(err)
		}
		notes := files["dispatcher/templates/NOTES.txt"]
		if strings.Contains(notes, "<no value>") || strings.Contains(notes, "%!") || strings.Contains(notes, "{{") {
			t.Errorf("%s:\n%s", name, notes)
		}
		all := render(t, given)
		where := "deployment/" + one[*corev1.Service](t, all).Name
		if len(only[*appsv1.StatefulSet](all)) > 0 {
			where = "statefulset/" + one[*corev1.Service](t, all).Name
		}
		if !strings.Contains(notes, "rollout status "+where) || !strings.Contains(notes, "/ui") || !regexp.MustCompile(`curl -X POST http\S+/v1/types/\w+/jobs`).MatchString(notes) {
			t.Errorf("%s:\n%s", name, notes)
		}
		if tests := len(only[*corev1.Pod](all)) > 0; tests != strings.Contains(notes, "helm -n hooks test mail") {
			t.Errorf("%s: there is a test: %t\n%s", name, tests, notes)
		}
	}
}
