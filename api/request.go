package api

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/deetoo/deetoo/auth"
	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// maxEnvelope is what a job's JSON may be larger than its data, in bytes.
const maxEnvelope = 64 << 10

// maxSettingsBody bounds requests that carry no jobs, in bytes.
const maxSettingsBody = 256 << 10

// Media types of requests.
const (
	mediaJSON       = "application/json"
	mediaMergePatch = "application/merge-patch+json"
	mediaNDJSON     = "application/x-ndjson"
	// mediaForm is what curl -d says of everything. No form is read here, and
	// tokens come in a header that no foreign page can make a browser send, so
	// it is taken for JSON.
	mediaForm = "application/x-www-form-urlencoded"
)

// request is one request whose caller is known.
type request struct {
	*fiber.Ctx
	// ctx ends with Options.Timeout; Fiber's own would be reused.
	ctx context.Context
	who *auth.Identity
}

// param returns a copy of a path parameter, percent-decoded once: Fiber hands
// out the raw bytes, in a buffer that the next request overwrites.
func (r *request) param(name string) (string, error) {
	v, err := url.PathUnescape(r.Params(name))
	if err != nil {
		return "", invalid.Errorf(name, "must be percent-encoded correctly in the path")
	}
	return strings.Clone(v), nil
}

// typ returns the job type in the path. Whether there is one, intake knows.
func (r *request) typ() (string, error) { return r.param("type") }

// typAndID returns type and job ID in the path.
func (r *request) typAndID() (typ, id string, err error) {
	if typ, err = r.typ(); err != nil {
		return "", "", err
	}
	if id, err = r.param("id"); err != nil {
		return "", "", err
	}
	return typ, id, nil
}

// query returns a copy of a query parameter; "" if absent.
func (r *request) query(name string) string { return strings.Clone(r.Query(name)) }

// state returns the query parameter of that name, or what else it is by default.
func (r *request) state(byDefault queue.State) (queue.State, error) {
	s := r.query("state")
	if s == "" && byDefault != "" {
		return byDefault, nil
	}
	state, err := queue.ParseState(s)
	if err != nil {
		return "", invalid.Errorf("state", "must be one of waiting, scheduled, active, succeeded, cancelled, dead")
	}
	return state, nil
}

// limit returns the query parameter of that name; 0 if absent.
func (r *request) limit() (int, error) {
	s := r.query("limit")
	if s == "" {
		return 0, nil
	}
	limit, err := strconv.Atoi(s)
	if err != nil || limit < 1 {
		return 0, invalid.Errorf("limit", "must be 1 to %d", queue.MaxPage)
	}
	return limit, nil
}

// body returns the body, at most limit bytes of one of the media types, and
// which it is. It is valid until the handler returns. What is compressed is
// refused and never inflated, since it could be larger than any limit.
func (r *request) body(limit int, media ...string) ([]byte, string, error) {
	if enc := r.Get(fiber.HeaderContentEncoding); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, "", errEncoding
	}
	kind, err := mediaType(r.Get(fiber.HeaderContentType), media)
	if err != nil {
		return nil, "", err
	}
	body := r.BodyRaw()
	if len(body) > limit {
		return nil, "", &tooLargeError{limit}
	}
	return body, kind, nil
}

// optional reads a body that need not be there, of settings or the like, into v.
func (r *request) optional(limit int, v any) error {
	body, _, err := r.body(limit, mediaJSON)
	if err != nil || len(body) == 0 {
		return err
	}
	return strictjson.Decode(body, v)
}

// mediaType returns which of the media types a Content-Type header names; none
// at all, and curl's default, are taken for JSON.
func mediaType(header string, media []string) (string, error) {
	if header == "" || header == mediaJSON {
		return mediaJSON, nil
	}
	kind, params, err := mime.ParseMediaType(header)
	if err != nil {
		return "", &mediaTypeError{media}
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", &mediaTypeError{media}
	}
	switch kind {
	case mediaJSON, mediaForm:
		return mediaJSON, nil
	case "application/ndjson", "application/jsonl":
		kind = mediaNDJSON
	}
	if !slices.Contains(media, kind) {
		return "", &mediaTypeError{media}
	}
	return kind, nil
}

// noBody refuses a body where none is read, so that nobody believes it counted.
func (r *request) noBody() error {
	if len(bytes.TrimSpace(r.BodyRaw())) > 0 && string(bytes.TrimSpace(r.BodyRaw())) != "{}" {
		return invalid.Errorf("", "must not have a body")
	}
	return nil
}

// json answers with v.
func (r *request) json(status int, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is not HTML, and a job's data should look as it was sent
	if err := enc.Encode(v); err != nil {
		return err
	}
	r.respond(status, b.Bytes())
	return nil
}

// respond answers with JSON, whose memory must not be used again.
func (r *request) respond(status int, body []byte) {
	r.Response().SetStatusCode(status)
	r.Response().Header.SetContentType(mediaJSON)
	r.Response().SetBodyRaw(body)
}

// shortened cuts a stranger's text for an error.
func shortened(s string) string {
	const limit = 64
	s = strings.ToValidUTF8(s, "�")
	if len(s) <= limit {
		return s
	}
	end := limit
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// etag writes a version as an entity tag (RFC 9110 section 8.8.3).
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ifMatch reads the If-Match header; 0 if absent. A tag that is none of ours
// becomes a version that no type ever has.
func (r *request) ifMatch() (int64, error) {
	h := strings.TrimSpace(r.Get(fiber.HeaderIfMatch))
	if h == "" {
		return 0, nil
	}
	tag, opened := strings.CutPrefix(h, `"`)
	tag, closed := strings.CutSuffix(tag, `"`)
	if !opened || !closed || strings.Contains(tag, `"`) {
		return 0, invalid.Errorf(fiber.HeaderIfMatch, "must be the one ETag of the type, in its quotes")
	}
	version, err := strconv.ParseInt(tag, 10, 64)
	if err != nil || version <= 0 {
		return math.MaxInt64, nil
	}
	return version, nil
}

// conditions are those of the headers If-Match and If-None-Match; not both.
func (r *request) conditions() (o registry.PutOptions, err error) {
	if o.IfMatch, err = r.ifMatch(); err != nil {
		return o, err
	}
	if o.IfNoneMatch, err = r.ifNoneMatch(); err != nil {
		return o, err
	}
	if o.IfNoneMatch && o.IfMatch != 0 {
		return o, invalid.Errorf(fiber.HeaderIfNoneMatch, "must not be given together with If-Match")
	}
	return o, nil
}

// ifNoneMatch reports whether the If-None-Match header says that what is put must not exist.
func (r *request) ifNoneMatch() (bool, error) {
	switch strings.TrimSpace(r.Get(fiber.HeaderIfNoneMatch)) {
	case "":
		return false, nil
	case "*":
		return true, nil
	}
	return false, invalid.Errorf(fiber.HeaderIfNoneMatch, "must be *")
}
