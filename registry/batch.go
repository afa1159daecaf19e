package registry

import "time"

// Batch says how jobs of a type go together: several in one delivery, which
// takes one of the type's slots. The zero value: each goes alone.
type Batch struct {
	// Size is how many jobs a delivery has at most: 1 to 1,000. 0: each goes alone.
	Size int
	// Wait is how long jobs that are too few for a whole batch wait for company
	// while a slot is free: 0s to 10s, to the millisecond. Default: 100ms.
	Wait time.Duration
	// MaxBytes bounds the data of the jobs in one delivery: 1,024 to 67,108,864
	// (64 MiB). What is more goes in another, one after the other in the same slot. A
	// job that is larger by itself goes alone. Default: 4 MiB.
	MaxBytes int
}

// BatchSpec is [Batch] as people write it.
type BatchSpec struct {
	Size     *int      `json:"size,omitzero"`
	Wait     *Duration `json:"wait,omitzero"`
	MaxBytes *int      `json:"max_bytes,omitzero"`
}

func (s *BatchSpec) build() Batch {
	if s == nil {
		return Batch{}
	}
	b := Batch{Wait: 100 * time.Millisecond, MaxBytes: 4 << 20}
	set(&b.Size, s.Size)
	set(&b.Wait, (*time.Duration)(s.Wait))
	set(&b.MaxBytes, s.MaxBytes)
	return b
}

func (b Batch) spec() *BatchSpec {
	if b == (Batch{}) {
		return nil
	}
	return &BatchSpec{Size: &b.Size, Wait: duration(b.Wait), MaxBytes: &b.MaxBytes}
}

// batch checks how jobs go together, and that what else is set goes with it.
func (c *checks) batch(t *Type) {
	b := t.Batch
	if b == (Batch{}) {
		return
	}
	c.that(b.Size >= 1 && b.Size <= 1000, "batch.size", "must be 1 to 1,000")
	c.that(b.Wait >= 0 && b.Wait <= 10*time.Second, "batch.wait", "must be 0s to 10s")
	c.that(b.MaxBytes >= 1<<10 && b.MaxBytes <= 64<<20, "batch.max_bytes", "must be 1,024 to 67,108,864 (64 MiB)")
	c.that(t.Target != LocalTarget, "batch", "is for webhooks only")
	c.that(t.Format != CloudEventsBinary, "batch", "does not go with format cloudevents-binary: CloudEvents has batches in JSON only; use cloudevents-structured")
	c.that(t.ReconcileURL == "", "batch", "does not go with a reconcile_url: it asks about one job")
}
