package charttest

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestImageIsWhatTheChartExpects holds the last stage of the Containerfile against the pods.
func TestImageIsWhatTheChartExpects(t *testing.T) {
	file, err := os.ReadFile("../../Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	stages := strings.Split(string(file), "\nFROM ")
	last := stages[len(stages)-1]
	spec := pod(t, render(t, matrix(t)["embedded"])).Spec
	c := spec.Containers[0]
	user := strconv.FormatInt(*spec.SecurityContext.RunAsUser, 10) + ":" + strconv.FormatInt(*spec.SecurityContext.RunAsGroup, 10)
	for _, line := range []string{
		"USER " + user, // by number, or the kubelet could not tell that it is not root
		"EXPOSE " + strconv.Itoa(int(c.Ports[0].ContainerPort)),
		`ENTRYPOINT ["/dispatcher"]`, // the pods give only arguments
		`CMD ["` + c.Args[0] + `"]`,
	} {
		if !strings.Contains("\n"+last, "\n"+line+"\n") {
			t.Errorf("the image has no %s:\n%s", line, last)
		}
	}
	if len(c.Command) > 0 {
		t.Errorf("the pod has a command: %v", c.Command)
	}
	for _, set := range regexp.MustCompile(`DEETOO_\w+=\S+`).FindAllString(last, -1) {
		name, value, _ := strings.Cut(set, "=")
		if e := variables(c)[name]; e.Value != value {
			t.Errorf("%s is %s in the image, %s in the pod", name, value, e.Value)
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	needs := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(mod)
	if got := regexp.MustCompile(`GO_VERSION=(1\.\d+)\.\d+\n`).FindSubmatch(file); needs == nil || got == nil || string(got[1]) != string(needs[1]) {
		t.Errorf("the image is built with Go %s, go.mod says %s", got, needs)
	}
}
