package auth

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deetoo/deetoo/invalid"
)

// Every algorithm against every key: a key accepts its own family, from its
// own private key, and nothing else.
func TestAlgorithmIsPinnedToTheKey(t *testing.T) {
	k, other := ours(), theirs()
	type source struct {
		name    string
		options Options
		accepts []string
	}
	rsaMethods := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	sources := []source{
		{"secret", Options{Secret: secret}, []string{"HS256"}},
		{"rsa", Options{PublicKeyFile: pemFile(t, k.rsa.Public())}, rsaMethods},
		{"rsa pkcs1", Options{PublicKeyFile: writePEM(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey))}, rsaMethods},
		{"rsa certificate", Options{PublicKeyFile: certificate(t, k.rsa)}, rsaMethods},
		{"p256", Options{PublicKeyFile: pemFile(t, k.p256.Public())}, []string{"ES256"}},
		{"p384", Options{PublicKeyFile: pemFile(t, k.p384.Public())}, []string{"ES384"}},
		{"p521", Options{PublicKeyFile: pemFile(t, k.p521.Public())}, []string{"ES512"}},
		{"ed25519", Options{PublicKeyFile: pemFile(t, k.ed.Public())}, []string{"EdDSA"}},
	}
	for _, src := range sources {
		t.Run(src.name, func(t *testing.T) {
			v := newVerifier(t, src.options)
			check := func(alg string, key any, want error) {
				t.Helper()
				token := sign(alg, key, good())
				id, err := v.Verify(t.Context(), token)
				if !errors.Is(err, want) || (want == nil) != (id != nil) {
					t.Errorf("%s: got %v, %v; want %v", alg, id, err, want)
				}
			}
			for alg, key := range k.signers() {
				if slices.Contains(src.accepts, alg) {
					check(alg, key, nil)
					check(alg, other.signers()[alg], ErrSignature)
				} else {
					check(alg, key, ErrAlgorithm)
				}
			}
			if src.name == "secret" {
				check("HS256", secret, nil)
				check("HS256", []byte(strings.Repeat("x", 32)), ErrSignature)
			} else {
				check("HS256", secret, ErrAlgorithm)
				// The classic: the public key, which everybody has, as the HMAC secret.
				file, err := os.ReadFile(src.options.PublicKeyFile)
				if err != nil {
					t.Fatal(err)
				}
				block, _ := pem.Decode(file)
				for _, public := range [][]byte{file, block.Bytes, []byte(strings.TrimSpace(string(file)))} {
					check("HS256", public, ErrAlgorithm)
					check("HS512", public, ErrAlgorithm)
				}
			}
			check("HS384", secret, ErrAlgorithm)
			check("HS512", secret, ErrAlgorithm)
			check("none", jwt.UnsafeAllowNoneSignatureType, ErrAlgorithm)
		})
	}
}

// ES256 with a key on another curve has a signature of the right length if
// made by hand; the curve decides, not the length.
func TestCurveIsPinned(t *testing.T) {
	if fits(newEC(elliptic.P224()).Public(), "ES256") || fits(ours().p384.Public(), "ES256") || !fits(ours().p256.Public(), "ES256") {
		t.Error("the algorithm is not bound to the curve")
	}
}

func certificate(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: now, NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "CERTIFICATE", der)
}

func TestOptionsNameTheFieldAtFault(t *testing.T) {
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	private, err := x509.MarshalPKCS8PrivateKey(ours().ed)
	if err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("not pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o     Options
		field string
	}{
		"no key":             {Options{}, ""},
		"two keys":           {Options{Secret: secret, JWKSURL: "https://id.example.org/jwks"}, ""},
		"short secret":       {Options{Secret: secret[:31]}, "Secret"},
		"leeway":             {Options{Secret: secret, Leeway: time.Hour}, "Leeway"},
		"cache":              {Options{Secret: secret, CacheSize: 1 << 30}, "CacheSize"},
		"scheme":             {Options{JWKSURL: "file:///etc/passwd"}, "JWKSURL"},
		"relative":           {Options{JWKSURL: "/jwks"}, "JWKSURL"},
		"no host":            {Options{JWKSURL: "https://:443/jwks"}, "JWKSURL"},
		"unparsable":         {Options{JWKSURL: "https://user:hunter2@[::1/jwks"}, "JWKSURL"},
		"no file":            {Options{PublicKeyFile: filepath.Join(t.TempDir(), "absent.pem")}, "PublicKeyFile"},
		"not PEM":            {Options{PublicKeyFile: garbage}, "PublicKeyFile"},
		"a private key":      {Options{PublicKeyFile: writePEM(t, "PRIVATE KEY", private)}, "PublicKeyFile"},
		"bad DER":            {Options{PublicKeyFile: writePEM(t, "PUBLIC KEY", []byte{1, 2, 3})}, "PublicKeyFile"},
		"short RSA key":      {Options{PublicKeyFile: pemFile(t, weak)}, "PublicKeyFile"},
		"unsupported curve":  {Options{PublicKeyFile: pemFile(t, newEC(elliptic.P224()).Public())}, "PublicKeyFile"},
		"garbage as a chain": {Options{PublicKeyFile: writePEM(t, "CERTIFICATE", []byte{1})}, "PublicKeyFile"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New(t.Context(), c.o)
			bad, ok := errors.AsType[*invalid.Error](err)
			if v != nil || !ok || bad.Field != c.field {
				t.Fatalf("got %v, %v; want an error of the field %q", v, err, c.field)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v tells the password", err)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	const exp = `"exp":1800003600`
	for name, c := range map[string]struct {
		payload string
		want    error
	}{
		"minimal":                    {`{` + exp + `}`, nil},
		"unknown claims":             {`{` + exp + `,"x":{"y":[1]}}`, nil},
		"no exp":                     {`{"sub":"leia"}`, ErrMissingExpiry},
		"null exp":                   {`{"exp":null}`, ErrMissingExpiry},
		"null payload":               {`null`, ErrMissingExpiry},
		"exp of another case":        {`{"EXP":1800003600}`, ErrMissingExpiry},
		"exp as a string":            {`{"exp":"1800003600"}`, ErrMalformed},
		"exp as a bool":              {`{"exp":true}`, ErrMalformed},
		"exp as a float":             {`{"exp":1800003600.75}`, nil},
		"exp as an exponent":         {`{"exp":1.8000036e9}`, nil},
		"exp in the last century":    {`{"exp":1}`, ErrExpired},
		"negative exp":               {`{"exp":-1}`, ErrMalformed},
		"exp beyond 9999":            {`{"exp":253402300800}`, ErrMalformed},
		"exp beyond int64":           {`{"exp":9223372036854775808}`, ErrMalformed},
		"exp huge":                   {`{"exp":1e300}`, ErrMalformed},
		"exp infinite":               {`{"exp":1e999}`, ErrMalformed},
		"exp twice":                  {`{"exp":1,` + exp + `}`, ErrMalformed},
		"scope twice":                {`{` + exp + `,"scope":"jobs:read","scope":"admin"}`, ErrMalformed},
		"a nested name twice":        {`{` + exp + `,"x":{"a":1,"a":2}}`, ErrMalformed},
		"expired":                    {`{"exp":1799999000}`, ErrExpired},
		"not before":                 {`{` + exp + `,"nbf":1800001000}`, ErrNotYetValid},
		"issued in the future":       {`{` + exp + `,"iat":1800001000}`, ErrNotYetValid},
		"nbf as a string":            {`{` + exp + `,"nbf":"soon"}`, ErrMalformed},
		"expired and not before":     {`{"exp":1,"nbf":1800001000}`, ErrExpired},
		"array payload":              {`[1]`, ErrMalformed},
		"string payload":             {`"x"`, ErrMalformed},
		"no JSON":                    {`{`, ErrMalformed},
		"empty payload":              {``, ErrMalformed},
		"trailing":                   {`{` + exp + `}{}`, ErrMalformed},
		"invalid UTF-8":              {`{` + exp + ",\"sub\":\"\xff\"}", ErrMalformed},
		"depth bomb":                 {`{` + exp + `,"x":` + strings.Repeat("[", 12000) + `}`, ErrMalformed},
		"sub as a number":            {`{` + exp + `,"sub":7}`, ErrMalformed},
		"aud as a number":            {`{` + exp + `,"aud":7}`, ErrMalformed},
		"scope as a number":          {`{` + exp + `,"scope":7}`, ErrMalformed},
		"job_types as a string":      {`{` + exp + `,"job_types":"email"}`, ErrMalformed},
		"job_types null":             {`{` + exp + `,"job_types":null}`, ErrMalformed},
		"job_types of numbers":       {`{` + exp + `,"job_types":[1]}`, ErrMalformed},
		"job_types an object":        {`{` + exp + `,"job_types":{}}`, ErrMalformed},
		"an issuer nobody asked for": {`{` + exp + `,"iss":"anyone","aud":"anything"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, Options{Secret: secret})
			token := signRaw(secret, hs256, c.payload)
			id, err := v.Verify(t.Context(), token)
			if !errors.Is(err, c.want) || (c.want == nil) != (id != nil) {
				t.Fatalf("got %v, %v; want %v", id, err, c.want)
			}
			if err != nil && (!errors.Is(err, ErrUnauthenticated) || quotes(err, token)) {
				t.Errorf("%v: does not wrap ErrUnauthenticated, or repeats the token", err)
			}
		})
	}
}

func TestIssuerAndAudience(t *testing.T) {
	v := newVerifier(t, Options{Secret: secret, Issuer: "https://id.example.org", Audience: "deetoo"})
	for name, c := range map[string]struct {
		payload string
		want    error
	}{
		"both right":          {`"iss":"https://id.example.org","aud":"deetoo"`, nil},
		"among others":        {`"iss":"https://id.example.org","aud":["a","deetoo"]`, nil},
		"no issuer":           {`"aud":"deetoo"`, ErrIssuer},
		"null issuer":         {`"iss":null,"aud":"deetoo"`, ErrIssuer},
		"wrong issuer":        {`"iss":"https://id.example.org/","aud":"deetoo"`, ErrIssuer},
		"no audience":         {`"iss":"https://id.example.org"`, ErrAudience},
		"empty audience":      {`"iss":"https://id.example.org","aud":[]`, ErrAudience},
		"audience of nothing": {`"iss":"https://id.example.org","aud":""`, ErrAudience},
		"wrong audience":      {`"iss":"https://id.example.org","aud":["deetoo2"]`, ErrAudience},
		"both wrong":          {`"iss":"x","aud":"y"`, ErrIssuer},
	} {
		_, err := v.Verify(t.Context(), signRaw(secret, hs256, `{"exp":1800003600,`+c.payload+`}`))
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestTokensThatAreNone(t *testing.T) {
	v := newVerifier(t, Options{Secret: secret})
	valid := sign("HS256", secret, good())
	parts := strings.Split(valid, ".")
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"empty":                {"", ErrMissingToken},
		"garbage":              {"garbage", ErrMalformed},
		"dots":                 {"..", ErrMalformed},
		"binary":               {"\x00\xff.\x00.\x00", ErrMalformed},
		"two parts":            {parts[0] + "." + parts[1], ErrMalformed},
		"four parts":           {valid + ".x", ErrMalformed},
		"five parts (JWE)":     {valid + ".x.y", ErrMalformed},
		"padded":               {valid + "=", ErrMalformed},
		"a space before":       {" " + valid, ErrMalformed},
		"no signature":         {parts[0] + "." + parts[1] + ".", ErrSignature},
		"cut signature":        {valid[:len(valid)-3], ErrSignature},
		"header twice over":    {parts[0] + parts[0] + "." + parts[1] + "." + parts[2], ErrMalformed},
		"another payload":      {parts[0] + "." + b64(`{"exp":1900000000,"scope":"admin"}`) + "." + parts[2], ErrSignature},
		"too large":            {signRaw(secret, hs256, `{"exp":1800003600,"x":"`+strings.Repeat("x", MaxTokenSize)+`"}`), ErrTooLarge},
		"huge":                 {strings.Repeat(".", 10<<20), ErrTooLarge},
		"alg none unsigned":    {b64(`{"alg":"none"}`) + "." + parts[1] + ".", ErrAlgorithm},
		"alg None":             {signRaw(secret, `{"alg":"None"}`, `{"exp":1800003600}`), ErrAlgorithm},
		"alg in small letters": {signRaw(secret, `{"alg":"hs256"}`, `{"exp":1800003600}`), ErrAlgorithm},
		"alg missing":          {signRaw(secret, `{"typ":"JWT"}`, `{"exp":1800003600}`), ErrAlgorithm},
		"alg a number":         {signRaw(secret, `{"alg":256}`, `{"exp":1800003600}`), ErrAlgorithm},
		"header null":          {signRaw(secret, `null`, `{"exp":1800003600}`), ErrAlgorithm},
		"header an array":      {signRaw(secret, `["HS256"]`, `{"exp":1800003600}`), ErrMalformed},
		"critical extension":   {signRaw(secret, `{"alg":"HS256","crit":["b64"],"b64":false}`, `{"exp":1800003600}`), ErrMalformed},
	} {
		id, err := v.Verify(t.Context(), c.token)
		if id != nil || !errors.Is(err, c.want) || !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: got %v, %v; want %v", name, id, err, c.want)
		} else if quotes(err, c.token) {
			t.Errorf("%s: %v repeats the token", name, err)
		}
	}
}

// The non-significant bits of the last character must not make a second token
// of the same signature.
func TestSignatureEncodingIsStrict(t *testing.T) {
	v := newVerifier(t, Options{Secret: secret})
	valid := sign("HS256", secret, good())
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, valid[len(valid)-1])
	if _, err := v.Verify(t.Context(), valid[:len(valid)-1]+string(alphabet[last^1])); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

func TestLeeway(t *testing.T) {
	at := now
	for _, c := range []struct {
		leeway, effective time.Duration
	}{{0, 30 * time.Second}, {-1, 0}, {time.Minute, time.Minute}} {
		for _, cache := range []int{-1, 10} {
			v := newVerifier(t, Options{Secret: secret, Leeway: c.leeway, CacheSize: cache, Clock: func() time.Time { return at }})
			check := func(claim string, offset time.Duration, want error) {
				t.Helper()
				claims := good()
				claims[claim] = now.Unix()
				token := sign("HS256", secret, claims)
				at = now.Add(offset)
				if _, err := v.Verify(t.Context(), token); !errors.Is(err, want) || (want == nil) != (err == nil) {
					t.Errorf("leeway %s, cache %d: %s%+v: got %v, want %v", c.leeway, cache, claim, offset, err, want)
				}
			}
			// In this order the cached entry must expire on its own.
			check("exp", c.effective-time.Nanosecond, nil)
			check("exp", c.effective, ErrExpired)
			check("exp", c.effective+time.Hour, ErrExpired)
			for _, claim := range []string{"nbf", "iat"} {
				check(claim, -c.effective-time.Nanosecond, ErrNotYetValid)
				check(claim, -c.effective, nil)
			}
		}
	}
}

func TestCacheIsBoundedAndHoldsNoFailures(t *testing.T) {
	at := now
	v := newVerifier(t, Options{Secret: secret, CacheSize: 8, Clock: func() time.Time { return at }})
	for i := range 100 {
		claims := good()
		claims["jti"] = i
		if i%2 == 0 {
			claims["jti"] = "id" + string(rune('A'+i%26))
		}
		token := sign("HS256", secret, claims)
		_, err := v.Verify(t.Context(), token)
		if (err == nil) != (i%2 == 0) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if n := v.cache.Len(); n != 8 {
		t.Errorf("the cache has %d entries, want 8", n)
	}
	v.cache.Purge()
	token := sign("HS256", secret, good())
	if _, err := v.Verify(t.Context(), token+"A"); err == nil || v.cache.Len() != 0 {
		t.Errorf("a failure was cached: %v", err)
	}
	first, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := v.Verify(t.Context(), token); err != nil || second != first {
		t.Errorf("not from the cache: %v", err)
	}
	at = now.Add(2 * time.Hour)
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrExpired) || v.cache.Len() != 0 {
		t.Errorf("an expired token: %v, and %d entries stay", err, v.cache.Len())
	}
}

// Frameworks hand out strings over buffers they reuse.
func TestReusedBuffers(t *testing.T) {
	v := newVerifier(t, Options{Secret: secret})
	leia, han := good(), good()
	leia["job_types"] = []string{"email"}
	han["sub"], han["scope"] = "han-", "jobs:read"
	a, b := sign("HS256", secret, leia), sign("HS256", secret, han)
	buf := make([]byte, max(len(a), len(b)))
	alias := func(token string) string {
		copy(buf, token)
		return unsafe.String(&buf[0], len(token))
	}
	first, err := v.Verify(t.Context(), alias(a))
	if err != nil {
		t.Fatal(err)
	}
	second, err := v.Verify(t.Context(), alias(b))
	if err != nil {
		t.Fatal(err)
	}
	clear(buf)
	if first.Subject() != "leia" || first.JobTypes()[0] != "email" || second.Subject() != "han-" || first.Can(JobsRead) {
		t.Errorf("identities changed with the buffer: %v, %v", first, second)
	}
	for token, want := range map[string]*Identity{a: first, b: second} {
		if got, err := v.Verify(t.Context(), alias(token)); err != nil || got != want {
			t.Errorf("the cache was corrupted: %v, %v", got, err)
		}
	}
}

func TestCachedVerifyDoesNotAllocate(t *testing.T) {
	v := newVerifier(t, Options{Secret: secret})
	token := sign("HS256", secret, good())
	n := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	for name, size := range map[string]int{"cached": 0, "uncached": -1} {
		b.Run(name, func(b *testing.B) {
			v := newVerifier(b, Options{Secret: secret, CacheSize: size})
			token := sign("HS256", secret, good())
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(ctx, token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
