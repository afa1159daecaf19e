package api

import (
	"strings"
	"testing"
	"time"

	"github.com/deetoo/deetoo/invalid"
	"github.com/deetoo/deetoo/queue"
)

// The same by reflection.
type (
	reflectedItem struct {
		*receiptView
		Error *problem `json:"error,omitempty"`
	}
	reflectedBatch struct {
		Accepted int             `json:"accepted"`
		Rejected int             `json:"rejected"`
		Results  []reflectedItem `json:"results"`
	}
)

func TestReceiptsAreWrittenAsReflectionWould(t *testing.T) {
	bad, _ := problemOf(invalid.Errorf("data", "must be < 1 & > 0"))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.FixedZone("", 3600))
	var hand batchView
	reflected := reflectedBatch{Accepted: 7, Rejected: 1}
	hand.Accepted, hand.Rejected = 7, 1
	for _, r := range []queue.Receipt{
		{ID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", State: queue.Waiting, RunAt: at}, {ID: "a", State: queue.Scheduled, RunAt: at}, {ID: `<a>&"\'`, State: queue.Waiting, RunAt: at.Add(time.Hour), Replaced: true},
		{ID: "d", Duplicate: true}, {ID: "é\n\u2028\xff", State: queue.Active, Duplicate: true, RunAt: time.UnixMilli(1)}, {}, {ID: "z", State: queue.Dead, RunAt: at.Add(999 * time.Microsecond)},
	} {
		v := viewReceipt(r)
		want, err := plainJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendReceipt(nil, v, new(clockface))); got != string(want) {
			t.Errorf("%s\nwant %s", got, want)
		}
		hand.Results = append(hand.Results, itemView{receiptView: v})
		reflected.Results = append(reflected.Results, reflectedItem{receiptView: &v})
	}
	hand.Results = append(hand.Results, itemView{Error: bad})
	reflected.Results = append(reflected.Results, reflectedItem{Error: bad})
	want, err := plainJSON(reflected)
	if err != nil {
		t.Fatal(err)
	}
	got, err := hand.appendJSON(nil)
	if err != nil || string(got) != string(want)+"\n" {
		t.Errorf("%v\n%s\nwant %s", err, got, want)
	}
	if !strings.Contains(string(got), `"must be < 1 & > 0"`) {
		t.Errorf("escaped for HTML: %s", got)
	}
}
