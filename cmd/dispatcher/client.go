package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/deetoo/deetoo/auth"
)

// clientFlags say which dispatcher to talk to, and as whom.
type clientFlags struct {
	URL       string `name:"url" env:"DEETOO_URL" placeholder:"URL" help:"Where the dispatcher is. Default: this machine, at the address that DEETOO_LISTEN or PORT says, else 127.0.0.1:8888."`
	Token     string `name:"token" env:"DEETOO_TOKEN" placeholder:"TOKEN" help:"Token to show. Default: one made from the key in the data folder, if there is one on this machine."`
	DataDir   string `name:"data-dir" env:"DEETOO_DATA_DIR" default:"data" placeholder:"DIR" help:"Folder with the generated key. Default: ${default}."`
	JWTSecret string `name:"jwt-secret" env:"DEETOO_JWT_SECRET" placeholder:"SECRET" help:"HS256 secret to make a token from."`
	Issuer    string `name:"jwt-issuer" env:"DEETOO_JWT_ISSUER" help:"Issuer to put into it."`
	Audience  string `name:"jwt-audience" env:"DEETOO_JWT_AUDIENCE" help:"Audience to put into it."`
}

// client calls the REST API.
type client struct {
	base, token string
	http        *http.Client
}

func (f clientFlags) client() (*client, error) {
	if f.URL == "" {
		f.URL = localURL(serverFlags{Listen: os.Getenv("DEETOO_LISTEN")}.address())
	}
	base, err := url.Parse(f.URL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, usageError{errors.New("--url must be an http or https URL")}
	}
	token := f.Token
	if token == "" {
		secret := []byte(f.JWTSecret)
		if len(secret) == 0 {
			secret = loadKey(f.DataDir)
		}
		if len(secret) == 0 {
			return nil, usageError{errors.New("a token is needed: --token or DEETOO_TOKEN")}
		}
		if token, err = auth.Mint(secret, auth.MintOptions{
			Subject: "cli", Scopes: []auth.Scope{auth.Admin}, TTL: time.Minute, Issuer: f.Issuer, Audience: f.Audience,
		}); err != nil {
			return nil, err
		}
	}
	return &client{
		base: strings.TrimRight(f.URL, "/"), token: token,
		// A Redis that is slow to answer makes the API slow, not dead.
		http: &http.Client{Timeout: time.Minute},
	}, nil
}

// typePath is the path of a type and what is below it.
func typePath(typ string, below ...string) string {
	path := "/v1/types/" + url.PathEscape(typ)
	for _, b := range below {
		path += "/" + url.PathEscape(b)
	}
	return path
}

// call sends a request and decodes the answer into out, if that is not nil. An
// error answer becomes an error in the API's own words.
func (c *client) call(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	req, err := c.request(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	return c.do(req, out)
}

// push posts jobs, under an idempotency key unless that is empty.
func (c *client) push(ctx context.Context, path, contentType, key string, body []byte, out any) error {
	req, err := c.request(ctx, "POST", path, contentType, body)
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	return c.do(req, out)
}

func (c *client) request(ctx context.Context, method, path, contentType string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, nil
}

// send sends a request. The caller closes the answer's body.
func (c *client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no dispatcher answers at %s: %w", c.base, errors.Unwrap(err))
	}
	return resp, nil
}

func (c *client) do(req *http.Request, out any) error {
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		return problem(resp.StatusCode, answer)
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// problem makes an error of a problem document (RFC 9457).
func problem(status int, answer []byte) error {
	var p struct{ Title, Detail string }
	if json.Unmarshal(answer, &p) != nil || (p.Title == "" && p.Detail == "") {
		return fmt.Errorf("the dispatcher answered %d %s", status, http.StatusText(status))
	}
	if p.Detail == "" {
		p.Detail = p.Title
	}
	return fmt.Errorf("%s (%d)", plain(p.Detail), status)
}

// plain makes a text harmless for the terminal and one line of it: what jobs
// and handlers say may hold anything.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// printJSON prints an answer for people and for jq.
func printJSON(w io.Writer, raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// show sends a request without a body and prints the answer.
func (f clientFlags) show(env *environment, method, path string) error {
	return f.send(env, method, path, nil)
}

// send sends a request with a body of JSON, unless that is nil, and prints the answer.
func (f clientFlags) send(env *environment, method, path string, body []byte) error {
	cl, err := f.client()
	if err != nil {
		return err
	}
	media := ""
	if body != nil {
		media = "application/json"
	}
	var answer json.RawMessage
	if err := cl.call(env.ctx, method, path, media, body, &answer); err != nil {
		return err
	}
	return printJSON(env.stdout, answer)
}

// readFileOrInput reads a file, or standard input for "-".
func readFileOrInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}
