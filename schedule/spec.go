package schedule

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/deetoo/deetoo/internal/strictjson"
	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
	"github.com/deetoo/deetoo/registry"
)

// timeLayout is RFC 3339 in UTC, to the millisecond.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Time is an instant that is written as RFC 3339, to the millisecond.
type Time time.Time

// MarshalText writes it in UTC.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(timeLayout)), nil
}

// UnmarshalText reads RFC 3339.
func (t *Time) UnmarshalText(b []byte) error {
	v, err := time.Parse(time.RFC3339, string(b))
	if err != nil || v.UTC().Year() < 1970 || v.UTC().Year() > 9999 {
		return invalid.Errorf("", "must be a time as in RFC 3339, such as 2030-01-31T12:00:00Z")
	}
	*t = Time(v.Truncate(time.Millisecond))
	return nil
}

// IsZero lets omitzero leave it out.
func (t Time) IsZero() bool { return time.Time(t).IsZero() }

// Spec is a schedule as people write it. What is absent (or null) has its
// default; see [Schedule] for bounds.
type Spec struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Cron        string            `json:"cron,omitzero"`
	TimeZone    string            `json:"timezone,omitzero"`
	Every       registry.Duration `json:"every,omitzero"`
	Start       Time              `json:"start,omitzero"`
	End         Time              `json:"end,omitzero"`
	Jitter      registry.Duration `json:"jitter,omitzero"`
	Job         json.RawMessage   `json:"job,omitzero"`
	Overlap     Overlap           `json:"overlap,omitzero"`
	CatchUp     CatchUp           `json:"catch_up,omitzero"`
	Paused      *bool             `json:"paused,omitzero"`
	Description string            `json:"description"`
}

// readOnly are the fields of the output form that a Spec has not. They are
// accepted and ignored, so that what was read can be sent back.
type readOnly struct {
	Version   json.RawMessage `json:"version"`
	CreatedAt json.RawMessage `json:"created_at"`
	UpdatedAt json.RawMessage `json:"updated_at"`
	NextAt    json.RawMessage `json:"next_at"`
}

// DecodeSpec reads one JSON object strictly; see registry.DecodeSpec, which does the same for types.
func DecodeSpec(name string, data []byte) (Spec, error) {
	var in struct {
		Spec
		readOnly
	}
	if err := strictjson.DecodeObject(data, &in); err != nil {
		return Spec{}, err
	}
	if err := registry.AgreeName(&in.Name, name); err != nil {
		return Spec{}, err
	}
	return in.Spec, nil
}

// LoadFile reads schedules from a types file (see registry.LoadFile): under "schedules",
// which may be absent, a list of specs, or a map of names to specs.
func LoadFile(path string) ([]Spec, error) {
	var specs []Spec
	err := registry.LoadSection(path, "schedules", func(name string, data []byte) (string, error) {
		spec, err := DecodeSpec(name, data)
		if err == nil {
			_, err = spec.Schedule(nil)
		}
		specs = append(specs, spec)
		return spec.Name, err
	})
	if err != nil {
		return nil, err
	}
	return specs, nil
}

// Schedule returns the valid schedule that the spec describes, or the first
// rule it breaks as an *[invalid.Error]. The job itself is not looked into.
func (s Spec) Schedule(old *Schedule) (Schedule, error) {
	out := New(s.Name, s.Type)
	out.Cron, out.Every, out.Jitter = s.Cron, time.Duration(s.Every), time.Duration(s.Jitter)
	out.Start, out.End = time.Time(s.Start).UTC(), time.Time(s.End).UTC()
	out.Description = s.Description
	if s.TimeZone != "" {
		out.TimeZone = s.TimeZone
	}
	if s.Overlap != "" {
		out.Overlap = s.Overlap
	}
	if s.CatchUp != "" {
		out.CatchUp = s.CatchUp
	}
	out.Paused = s.Paused != nil && *s.Paused
	out.Job = json.RawMessage(`{"data":null}`)
	if len(s.Job) > 0 && string(s.Job) != "null" {
		var b bytes.Buffer
		if err := json.Compact(&b, s.Job); err != nil {
			return Schedule{}, invalid.Errorf("job", "must be an object")
		}
		out.Job = b.Bytes()
	}
	if old != nil {
		out.Version, out.CreatedAt, out.UpdatedAt, out.Next = old.Version, old.CreatedAt, old.UpdatedAt, old.Next
	}
	return out, out.Validate()
}

// spec is the reverse of Schedule: everything said.
func (s *Schedule) spec() Spec {
	paused := s.Paused
	zone := s.TimeZone
	if s.Every > 0 {
		zone = "" // it has none
	}
	return Spec{
		Name: s.Name, Type: s.Type, Cron: s.Cron, TimeZone: zone, Every: registry.Duration(s.Every),
		Start: Time(s.Start), End: Time(s.End), Jitter: registry.Duration(s.Jitter), Job: s.Job,
		Overlap: s.Overlap, CatchUp: s.CatchUp, Paused: &paused, Description: s.Description,
	}
}

// View is a schedule as it is shown. Sent back as a Spec it changes nothing.
type View struct {
	Spec
	// NextAt is the next tick, absent if there is none.
	NextAt    Time  `json:"next_at,omitzero"`
	Version   int64 `json:"version"`
	CreatedAt Time  `json:"created_at"`
	UpdatedAt Time  `json:"updated_at"`
}

// View returns the form to show.
func (s *Schedule) View() View {
	return View{Spec: s.spec(), NextAt: Time(s.Next), Version: s.Version, CreatedAt: Time(s.CreatedAt), UpdatedAt: Time(s.UpdatedAt)}
}

// encode writes JSON as its author would: a job's data keeps its <, > and &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// mergePatch applies an RFC 7396 merge patch to the output form of old.
func mergePatch(old *Schedule, patch []byte) (Spec, error) {
	// Decoding the patch by itself finds what is wrong with it in its author's words.
	if _, err := DecodeSpec(old.Name, patch); err != nil {
		return Spec{}, err
	}
	doc, err := encode(old.View())
	if err != nil {
		return Spec{}, err
	}
	merged, err := jsonpatch.MergePatch(doc, patch)
	if err != nil {
		return Spec{}, invalid.Errorf("", "is not a JSON merge patch")
	}
	return DecodeSpec(old.Name, merged)
}

// maxJobLength is how long a job's template may be, in bytes.
const maxJobLength = 128 << 10

// Validate returns the first rule that the schedule breaks, an *[invalid.Error]
// naming the field as in a [Spec], or nil.
func (s *Schedule) Validate() error {
	switch {
	case !validName(s.Name):
		return invalid.Errorf("name", "must be 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit")
	case s.Type == "":
		return invalid.Errorf("type", "is required")
	case !validName(s.Type):
		return invalid.Errorf("type", "must be 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit")
	case s.Overlap != Queue && s.Overlap != Skip && s.Overlap != Replace:
		return invalid.Errorf("overlap", "must be queue, skip or replace")
	case s.CatchUp != None && s.CatchUp != Last && s.CatchUp != All:
		return invalid.Errorf("catch_up", "must be none, last or all")
	case s.Jitter < 0 || s.Jitter > 24*time.Hour:
		return invalid.Errorf("jitter", "must be 0s to 24h")
	case len(s.Job) == 0 || s.Job[0] != '{':
		return invalid.Errorf("job", "must be an object")
	case len(s.Job) > maxJobLength:
		return invalid.Errorf("job", "must be at most %d bytes", maxJobLength)
	case len(s.Description) > 1024 || !utf8.ValidString(s.Description) || strings.ContainsFunc(s.Description, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }):
		return invalid.Errorf("description", "must be at most 1,024 bytes of printable text")
	}
	_, err := s.Timing()
	return err
}

func validName(name string) bool { return queue.ValidateType(name) == nil }
