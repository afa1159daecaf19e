package registry

import "testing"

func TestAllowsTarget(t *testing.T) {
	typ := New("email", "https://own.test/x?key=1")
	typ.AllowTargets = []string{"https://api.example.org", "https://*.example.org/hooks", "http://10.0.0.7:8080/in/", "https://*.*.deep.example.org:443/"}
	for _, target := range []string{
		"https://own.test/x?key=1", "https://api.example.org", "https://API.example.org:443/any/path?q=1", "https://api.example.org./a",
		"https://eu.example.org/hooks", "https://eu.example.org/hooks/", "https://eu.example.org/hooks/a?b=../c",
		"http://10.0.0.7:8080/in", "http://10.0.0.7:8080/in/a", "https://a.b.deep.example.org/",
	} {
		if !typ.AllowsTarget(target) {
			t.Errorf("%s is refused", target)
		}
	}
	for _, target := range []string{
		"", "local:", "https://own.test/x", "https://own.test/x?key=2", "http://api.example.org/", "https://api.example.org:8443/", "https://api.example.org.evil.test/",
		"https://evil.test/https://api.example.org/", "https://user@api.example.org/", "https://api.example.org@evil.test/", "https://api.example.org/#f",
		"https://example.org/hooks", "https://a.eu.example.org/hooks", "https://.example.org/hooks", "https://eu.example.org/hooksa", "https://eu.example.org/", "https://eu.example.org/Hooks",
		"https://eu.example.org/hooks/../admin", "https://eu.example.org/hooks/%2e%2e/admin", "https://eu.example.org/hooks/..%2fadmin", "https://eu.example.org/hooks/..%5cadmin",
		`https://eu.example.org/hooks/..\admin`, "https://eu.example.org/hooks/..;/admin", "https://eu.example.org/hooks/./a",
		"http://10.0.0.7/in", "http://10.0.0.70:8080/in", "https://b.deep.example.org/", "ftp://api.example.org/", "//api.example.org/", "https://api.example.org/ a",
	} {
		if typ.AllowsTarget(target) {
			t.Errorf("%s is allowed", target)
		}
	}
}

func TestAllowTargetsAreChecked(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"https://api.example.org": true, "https://*.example.org/a": true, "http://127.0.0.1:8080": true, "http://[::1]:80/a": true, "http://localhost:1": true,
		"": false, "local:": false, "https://*": false, "https://*.org": false, "https://*.*": false, "https://a*.example.org": false, "https://example.*": false, "https://a.*.org": false,
		"https://api.example.org/?a=1": false, "https://api.example.org/#a": false, "https://u:p@api.example.org": false, "ftp://a.example.org": false, "https://api.example.org/a/../b": false,
	} {
		_, err := Spec{Name: "email", Target: "https://own.test/", AllowTargets: []string{"https://fine.example.org", pattern}}.Type(nil)
		if (err == nil) != ok {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}
