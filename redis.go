package deetoo

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/deetoo/deetoo/invalid"
)

// ConnectRedis makes a client for the Redis at a URL; it connects when first used.
//
//	redis://[user:password@]host:port[/db]                         one server (rediss:// with TLS)
//	redis+sentinel://[user:password@]host:port[,host:port…]/master[?db=n]
//	redis+cluster://[user:password@]host:port[,host:port…]         (rediss+… with TLS)
//
// Queries set the client's options, such as ?read_timeout=3s. Sentinels that
// want credentials get those in ?sentinel_username and ?sentinel_password. The
// error never holds the URL, which may hold a password.
func ConnectRedis(rawURL string) (redis.UniversalClient, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return nil, invalid.Errorf("redis_url", "must be a URL such as redis://localhost:6379")
	}
	base, kind, _ := strings.Cut(u.Scheme, "+")
	if (base != "redis" && base != "rediss") || (kind != "" && kind != "sentinel" && kind != "cluster") {
		return nil, invalid.Errorf("redis_url", "must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
	}
	bad := func(err error) error {
		return invalid.Errorf("redis_url", "is not understood: %s", redactURL(err, rawURL))
	}
	u.Scheme = base
	if kind != "" {
		// The client takes further addresses as ?addr=.
		hosts := strings.Split(u.Host, ",")
		q := u.Query()
		for _, h := range hosts[1:] {
			q.Add("addr", h)
		}
		u.Host = hosts[0]
		if kind == "sentinel" {
			master := strings.Trim(u.Path, "/")
			if master == "" {
				return nil, invalid.Errorf("redis_url", "must name the master: redis+sentinel://host:port/master")
			}
			q.Set("master_name", master)
			u.Path = ""
		}
		u.RawQuery = q.Encode()
	}
	switch kind {
	case "sentinel":
		q := u.Query()
		sentinelUser, sentinelPassword := q.Get("sentinel_username"), q.Get("sentinel_password")
		q.Del("sentinel_username")
		q.Del("sentinel_password")
		user := u.User
		u.RawQuery, u.User = q.Encode(), nil
		o, err := redis.ParseFailoverURL(u.String())
		if err != nil {
			return nil, bad(err)
		}
		// The client would take the URL's user for the sentinels'.
		o.Username = user.Username()
		o.Password, _ = user.Password()
		o.SentinelUsername, o.SentinelPassword = sentinelUser, sentinelPassword
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		return redis.NewFailoverClient(o), nil
	case "cluster":
		o, err := redis.ParseClusterURL(u.String())
		if err != nil {
			return nil, bad(err)
		}
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(o), nil
	default:
		o, err := redis.ParseURL(u.String())
		if err != nil {
			return nil, bad(err)
		}
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClient(o), nil
	}
}

func redactURL(err error, rawURL string) string {
	msg := strings.ReplaceAll(err.Error(), rawURL, "[redacted]")
	if u, perr := url.Parse(rawURL); perr == nil && u.User != nil {
		if p, ok := u.User.Password(); ok && p != "" {
			msg = strings.ReplaceAll(msg, p, "[redacted]")
		}
	}
	return msg
}

// redisPlace says for people where a Redis is, without credentials.
func redisPlace(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "redis"
	}
	return fmt.Sprintf("%s://%s%s", u.Scheme, u.Host, u.Path)
}
