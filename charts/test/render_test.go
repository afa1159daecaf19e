package charttest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

const (
	chartDir  = "../dispatcher"
	release   = "mail"
	namespace = "hooks"
)

func load(t testing.TB) *chartv2.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values reads values as people write them.
func values(t testing.TB, text string) map[string]any {
	t.Helper()
	v, err := loader.LoadValues(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// matrix are the values in the ci folder, by name.
func matrix(t testing.TB) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no values in ci: %v", err)
	}
	all := map[string]map[string]any{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), "-values.yaml")] = values(t, string(text))
	}
	return all
}

// template does what "helm template" does: it returns what each file becomes.
func template(t testing.TB, given map[string]any) (map[string]string, error) {
	t.Helper()
	c := load(t)
	v, err := util.ToRenderValues(c, given, common.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.RenderWithContext(t.Context(), c, v)
}

// objects are those of one release.
type objects []runtime.Object

// render templates the chart and decodes each object into the type that its
// API has, strictly: a field that there is not, or twice, is an error.
func render(t testing.TB, given map[string]any) objects {
	t.Helper()
	files, err := template(t, given)
	if err != nil {
		t.Fatal(err)
	}
	decoder := strictDecoder(t)
	var all objects
	seen := map[string]string{}
	for file, text := range files {
		if path.Ext(file) != ".yaml" {
			continue
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			var any map[string]any
			if err := yaml.Unmarshal(document, &any); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, document)
			}
			if len(any) == 0 { // comments and empty lines
				continue
			}
			o, _, err := decoder.Decode(bytes.TrimSpace(document), nil, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", file, err, document)
			}
			id := o.GetObjectKind().GroupVersionKind().Kind + "/" + name(t, o)
			if other, twice := seen[id]; twice {
				t.Errorf("%s is in %s and in %s", id, other, file)
			}
			seen[id] = file
			all = append(all, o)
		}
	}
	return all
}

func strictDecoder(t testing.TB) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, autoscalingv2.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme,
		gatewayv1.Install, kedav1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
}

func name(t testing.TB, o runtime.Object) string {
	t.Helper()
	m, err := meta.Accessor(o)
	if err != nil {
		t.Fatal(err)
	}
	return m.GetName()
}

// only returns the objects of a type.
func only[T runtime.Object](all objects) (some []T) {
	for _, o := range all {
		if one, ok := o.(T); ok {
			some = append(some, one)
		}
	}
	return some
}

// one returns the object of a type, of which there must be exactly one.
func one[T runtime.Object](t testing.TB, all objects) T {
	t.Helper()
	some := only[T](all)
	if len(some) != 1 {
		t.Fatalf("%d objects of type %T", len(some), *new(T))
	}
	return some[0]
}

// pod is the template of the dispatcher's pods.
func pod(t testing.TB, all objects) corev1.PodTemplateSpec {
	t.Helper()
	if some := only[*appsv1.StatefulSet](all); len(some) > 0 {
		return some[0].Spec.Template
	}
	return one[*appsv1.Deployment](t, all).Spec.Template
}

// with returns the values with others put over them.
func with(base map[string]any, over map[string]any) map[string]any {
	return loader.MergeMaps(base, over)
}
