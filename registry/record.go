package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// stored is the JSON of a record: the spec in full, secrets and credentials
// included, and the one field beside it that is not kept in the record's stamp.
type stored struct {
	Spec
	PausedReason string `json:"paused_reason,omitzero"`
}

func encodeBody(t *Type) (string, error) {
	b, err := json.Marshal(stored{Spec: t.spec(), PausedReason: t.PausedReason})
	if err != nil {
		return "", fmt.Errorf("registry: type %q: %w", t.Name, err)
	}
	return string(b), nil
}

// stampOf returns the first line of a record, which no two writes have in common.
func stampOf(record string) string {
	stamp, _, _ := strings.Cut(record, "\n")
	return stamp
}

// decodeRecord reads a record as lua/put.lua writes it. Fields it does not know
// are left out, so that an older dispatcher can follow a newer one.
func decodeRecord(name, record string) (*Type, error) {
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
	t := in.build()
	t.Name, t.PausedReason = name, in.PausedReason
	t.Version, t.CreatedAt, t.UpdatedAt = numbers[0], time.UnixMilli(numbers[1]).UTC(), time.UnixMilli(numbers[2]).UTC()
	return &t, nil
}
