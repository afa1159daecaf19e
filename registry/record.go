package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// stored is the JSON of a record: the spec in full, secrets and credentials
// included, and the fields beside it that are not kept in the record's stamp.
type stored struct {
	Spec
	PausedReason string `json:"paused_reason,omitzero"`
	PausedAt     int64  `json:"paused_at,omitzero"` // Unix ms
	// SecretInfo is in the order of the secrets.
	SecretInfo []secretInfo `json:"secret_info,omitzero"`
	// Sealed holds secrets and credentials if they are encrypted.
	Sealed *sealed `json:"sealed,omitzero"`
}

// secretInfo is what is kept beside a secret; times in ms, 0 for none.
type secretInfo struct {
	ID        string `json:"id"`
	CreatedAt int64  `json:"created_at,omitzero"`
	ExpiresAt int64  `json:"expires_at,omitzero"`
}

func encodeBody(keys *Keyring, t *Type) (string, error) {
	out := stored{Spec: t.spec(), PausedReason: t.PausedReason, PausedAt: toMs(t.PausedAt)}
	for _, s := range t.Secrets {
		out.SecretInfo = append(out.SecretInfo, secretInfo{ID: s.ID(), CreatedAt: toMs(s.CreatedAt), ExpiresAt: toMs(s.ExpiresAt)})
	}
	if keys != nil {
		keys.seal(&out)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("registry: type %q: %w", t.Name, err)
	}
	return string(b), nil
}

func toMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMs(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// stampOf returns the first line of a record, which no two writes have in common.
func stampOf(record string) string {
	stamp, _, _ := strings.Cut(record, "\n")
	return stamp
}

// keyOf returns the ID of the key that a record is encrypted with, "" if it is not.
func keyOf(name, record string) (string, error) {
	_, body, _ := strings.Cut(record, "\n")
	var in struct {
		Sealed struct {
			Key string `json:"key"`
		} `json:"sealed"`
	}
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		return "", fmt.Errorf("registry: the record of type %q is damaged: %w", name, err)
	}
	return in.Sealed.Key, nil
}

// decodeRecord reads a record as lua/put.lua writes it. Fields it does not know
// are left out, so that an older dispatcher can follow a newer one.
func decodeRecord(keys *Keyring, name, record string) (*Type, error) {
	stamp, body, _ := strings.Cut(record, "\n")
	fields := strings.Fields(stamp)
	if len(fields) != 4 {
		return nil, fmt.Errorf("registry: the record of type %q is damaged", name)
	}
	var numbers [3]int64
	for i := range numbers {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("registry: the record of type %q is damaged: %w", name, err)
		}
		numbers[i] = n
	}
	var in stored
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		return nil, fmt.Errorf("registry: the record of type %q is damaged: %w", name, err)
	}
	if in.Sealed != nil {
		if err := keys.unseal(name, &in); err != nil {
			return nil, err
		}
	}
	t := in.build()
	if len(in.SecretInfo) == len(t.Secrets) { // an older dispatcher knows nothing of it
		for i, info := range in.SecretInfo {
			if s := &t.Secrets[i]; s.ID() == info.ID {
				s.CreatedAt, s.ExpiresAt = fromMs(info.CreatedAt), fromMs(info.ExpiresAt)
			}
		}
	}
	t.Name, t.PausedReason = name, in.PausedReason
	if in.PausedAt != 0 {
		t.PausedAt = time.UnixMilli(in.PausedAt).UTC()
	}
	t.Version, t.CreatedAt, t.UpdatedAt = numbers[0], time.UnixMilli(numbers[1]).UTC(), time.UnixMilli(numbers[2]).UTC()
	return &t, nil
}
