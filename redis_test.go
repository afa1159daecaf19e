package deetoo_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/deetoo/deetoo"
	"github.com/deetoo/deetoo/invalid"
)

func TestConnectRedisUnderstandsItsURLs(t *testing.T) {
	for url, kind := range map[string]string{
		"redis://localhost:6379":                                 "*redis.Client [localhost:6379]",
		"redis://user:pw@localhost:6379/3":                       "*redis.Client [localhost:6379]",
		"rediss://localhost:6380?read_timeout=2s":                "*redis.Client [localhost:6380] tls",
		"redis+sentinel://a:26379,b:26379,c:26379/main?db=2":     "sentinel",
		"redis+cluster://:pw@a:7000,b:7001,c:7002":               "*redis.ClusterClient [a:7000 b:7001 c:7002]",
		"rediss+cluster://a:7000":                                "*redis.ClusterClient [a:7000] tls",
		"redis+cluster://a:7000,b:7001?max_redirects=5":          "*redis.ClusterClient [a:7000 b:7001]",
		"redis+sentinel://u:pw@a:26379/main?sentinel_password=x": "sentinel",
	} {
		c, err := deetoo.ConnectRedis(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got := describe(c); got != kind {
			t.Errorf("%s: %s, want %s", url, got, kind)
		}
		c.Close()
	}
}

func describe(c redis.UniversalClient) string {
	switch c := c.(type) {
	case *redis.ClusterClient:
		o := c.Options()
		s := "*redis.ClusterClient [" + strings.Join(o.Addrs, " ") + "]"
		if o.TLSConfig != nil {
			s += " tls"
		}
		return s
	case *redis.Client:
		o := c.Options()
		if o.Addr == "FailoverClient" {
			return "sentinel"
		}
		s := "*redis.Client [" + o.Addr + "]"
		if o.TLSConfig != nil {
			s += " tls"
		}
		return s
	}
	return "?"
}

func TestConnectRedisRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for url, rule := range map[string]string{
		"":                                   "must be a URL",
		"localhost:6379":                     "must be",
		"http://localhost":                   "must begin with redis://",
		"redis+proxy://localhost":            "must begin with redis://",
		"redis+sentinel://localhost:26379":   "must name the master",
		"redis://u:hunter2@localhost/x":      "is not understood",
		"redis://u:hunter2@localhost?bogus=": "is not understood",
		"redis://u:hunter2@:x:y":             "must be a URL",
	} {
		_, err := deetoo.ConnectRedis(url)
		var bad *invalid.Error
		if !errors.As(err, &bad) || bad.Field != "redis_url" || !strings.Contains(bad.Rule, rule) {
			t.Errorf("%q: %v, want redis_url … %s", url, err, rule)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error holds the password: %v", url, err)
		}
	}
}

func TestStartNamesTheWrongOption(t *testing.T) {
	for name, o := range map[string]deetoo.Options{
		"jwt_secret":          {JWTSecret: []byte("short")},
		"redis_url":           {RedisURL: "mysql://x"},
		"prefix":              {Prefix: "{x}"},
		"on_shutdown_timeout": {OnTimeout: "shrug"},
		"lease":               {Lease: 1},
		"max_job_size":        {MaxJobSize: -1},
	} {
		o.DataDir = t.TempDir()
		err := deetoo.New(deetoo.WithOptions(o)).Start(context.Background())
		var bad *invalid.Error
		if !errors.As(err, &bad) || bad.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}
