package queue

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Fsck checks one type's queue and returns what is wrong with it, a sentence
// each; none means that every job is in exactly one place, every reference has its job, and the
// counts are right. It only reads, in bounded steps. On a live queue a job may
// move between two reads, so what it finds is looked at again, and only what stays is returned.
func (q *Queue) Fsck(ctx context.Context, typ string) ([]string, error) {
	var problems map[string]bool
	for pass := range 3 {
		if pass > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(200 * time.Millisecond):
			}
		}
		c := &checker{found: map[string]bool{}}
		if err := c.load(ctx, q.client, q.typeKeys(typ, "")); err != nil {
			return nil, Classify(err)
		}
		c.check()
		if pass == 0 {
			problems = c.found
		}
		for p := range problems {
			if !c.found[p] {
				delete(problems, p)
			}
		}
		if len(problems) == 0 {
			return nil, nil
		}
	}
	out := make([]string, 0, len(problems))
	for p := range problems {
		out = append(out, p)
	}
	sort.Strings(out)
	return out, nil
}

// checker holds one reading of a type's keys.
type checker struct {
	heads                           map[string]string // id -> first line of its record
	groupOf                         map[string]string // id -> group, of those that have one
	groups                          groupChecker
	blobs, results, history, leases map[string]bool
	reports                         map[string]bool
	buried, graves                  map[string]string // see lua/graves.lua
	unique                          uniqueKeys
	canaries                        map[string]string // see lua/redrives.lua
	redrives, redriving             map[string]float64
	badLeases                       []string
	active, scheduled, dead         map[string]float64
	waiting                         [5][]string
	finished                        []string
	control                         map[string]string
	batches                         batchCheck
	outbox                          map[string]float64
	endings, troubles               map[string]bool
	found                           map[string]bool
}

func (c *checker) problem(format string, args ...any) { c.found[fmt.Sprintf(format, args...)] = true }

func (c *checker) load(ctx context.Context, client redis.UniversalClient, keys []string) error {
	c.heads, c.groupOf = map[string]string{}, map[string]string{}
	err := scanHash(ctx, client, keys[0], func(id, rec string) {
		head, tail, _ := strings.Cut(rec, "\n")
		c.heads[id] = head
		c.unique.note(id, tail)
		var j Job
		if _, err := decodeRecord(&j, rec, " "); err == nil && j.Group != "" {
			c.groupOf[id] = j.Group
		}
	})
	for i, set := range []*map[string]bool{&c.blobs, &c.results, &c.history, &c.leases} {
		if err == nil {
			*set = map[string]bool{}
			err = scanHash(ctx, client, keys[1+i], func(id, value string) {
				(*set)[id] = true
				if set == &c.leases && !validLease(value) {
					c.badLeases = append(c.badLeases, id)
				}
				if set == &c.leases {
					c.batches.lease(value)
					c.groups.lease(id, value)
				}
			})
		}
	}
	if err == nil {
		c.reports = map[string]bool{}
		err = scanHash(ctx, client, keys[keyReports], func(id, _ string) { c.reports[id] = true })
	}
	for name, set := range map[string]*map[string]string{"buried": &c.buried, "graves": &c.graves, "canaries": &c.canaries} {
		if err == nil {
			*set = map[string]string{}
			err = scanHash(ctx, client, strings.TrimSuffix(keys[keyControl], "control")+name, func(k, v string) { (*set)[k] = v })
		}
	}
	if err == nil {
		err = c.batches.load(ctx, client, keys[0])
	}
	for name, set := range map[string]*map[string]float64{"redrives": &c.redrives, "redriving": &c.redriving} {
		if err == nil {
			*set, err = readSet(ctx, client, strings.TrimSuffix(keys[keyControl], "control")+name)
		}
	}
	for i, set := range []*map[string]float64{&c.active, &c.scheduled, &c.dead} {
		if err == nil {
			*set, err = readSet(ctx, client, keys[5+i])
		}
	}
	if err == nil {
		c.finished, err = readList(ctx, client, keys[8])
	}
	if err == nil {
		c.control, err = client.HGetAll(ctx, keys[keyControl]).Result()
	}
	if err == nil {
		err = c.unique.load(ctx, client, keys[keyControl])
	}
	if err == nil {
		err = c.loadOutbox(ctx, client, keys[keyControl])
	}
	for i := range c.waiting {
		if err == nil {
			c.waiting[i], err = readList(ctx, client, keys[10+i])
		}
	}
	if err == nil {
		err = c.groups.load(ctx, client, strings.TrimSuffix(keys[keyControl], "control"))
	}
	return err
}

func (c *checker) check() {
	listed := map[string]bool{}
	entries, waitingJobs := 0, map[string]bool{}
	list := func(ids []string, p int, group string) {
		entries += len(ids)
		for _, id := range ids {
			if head, ok := c.heads[id]; ok && len(head) > 2 && head[0] == 'q' && int(head[1]-'0') == p && c.groupOf[id] == group {
				listed[id] = true
			}
		}
	}
	for i, ids := range c.waiting {
		list(ids, i+1, "")
	}
	for at, ids := range c.groups.lists {
		list(ids, at.p, at.group)
	}
	finishedJobs := map[string]bool{}
	for _, entry := range c.finished {
		id, ms, _ := strings.Cut(entry, " ")
		f := strings.Fields(c.heads[id])
		if len(f) >= 7 && (f[0][0] == 's' || f[0][0] == 'c') && f[6] == ms {
			finishedJobs[id] = true
		}
	}
	for id, head := range c.heads {
		var j Job
		if _, err := decodeRecord(&j, head+"\n\n", " "); err != nil {
			c.problem("job %s has a damaged record", id)
			continue
		}
		_, active := c.active[id]
		_, scheduled := c.scheduled[id]
		_, dead := c.dead[id]
		if (head[2] == 'b') != c.blobs[id] {
			c.problem("job %s: its record and its blob disagree", id)
		}
		places := 0
		for _, in := range []bool{active, scheduled, dead} {
			if in {
				places++
			}
		}
		switch {
		case head[0] == 'q' && places == 0:
			waitingJobs[id] = true
			if !listed[id] {
				c.problem("job %s waits in no list: it would never run", id)
			}
		case head[0] == 'q' && (places > 1 || dead):
			c.problem("job %s is in more than one place", id)
		case head[0] == 'd' && (!dead || places > 1):
			c.problem("dead job %s is not among the dead alone", id)
		case (head[0] == 's' || head[0] == 'c') && places > 0:
			c.problem("finished job %s is in more than one place", id)
		case (head[0] == 's' || head[0] == 'c') && !finishedJobs[id]:
			c.problem("finished job %s is in no list: it would never be deleted", id)
		}
	}
	c.checkOrphans()
	c.checkGroups()
	c.batches.check(c.problem)
	c.unique.check(c)
	c.checkOutbox()
	c.checkTurns(waitingJobs)
	stale := func(field string) int { n, _ := strconv.Atoi(c.control[field]); return n }
	c.checkRedrives(stale("canaries"))
	if n := entries - len(waitingJobs); n != stale("wstale") {
		c.problem("%d left-over entries in the waiting lists, but %d are counted", n, stale("wstale"))
	}
	if n := len(c.finished) - len(finishedJobs); n != stale("fstale") {
		c.problem("%d left-over entries in the finished list, but %d are counted", n, stale("fstale"))
	}
	for id, due := range c.scheduled {
		if at, err := strconv.ParseFloat(c.control["due"], 64); err != nil || at > due {
			c.problem("scheduled job %s is due before the type is looked at", id)
		}
	}
}

func (c *checker) checkOrphans() {
	for name, set := range map[string]map[string]float64{"active": c.active, "scheduled": c.scheduled, "dead": c.dead} {
		for id := range set {
			if _, ok := c.heads[id]; !ok {
				c.problem("%s holds %s, which is no job", name, id)
			}
		}
	}
	for name, set := range map[string]map[string]bool{"blobs": c.blobs, "results": c.results, "attempts": c.history, "reports": c.reports} {
		for id := range set {
			if _, ok := c.heads[id]; !ok {
				c.problem("%s holds %s, which is no job", name, id)
			}
		}
	}
	for _, id := range c.badLeases {
		c.problem("job %s has a damaged lease", id)
	}
	for id := range c.leases {
		if _, ok := c.active[id]; !ok {
			c.problem("job %s has a lease but is not active", id)
		}
	}
	for id := range c.active {
		if !c.leases[id] {
			c.problem("job %s is active without a lease", id)
		}
	}
}

// checkGroups holds the groups of dead jobs against the dead.
func (c *checker) checkGroups() {
	counts := map[string]int{}
	for id, fingerprint := range c.buried {
		counts[fingerprint]++
		if _, dead := c.dead[id]; !dead {
			c.problem("job %s is in a group of dead jobs, but not dead", id)
		}
	}
	for id := range c.dead {
		if c.buried[id] == "" {
			c.problem("dead job %s is in no group", id)
		}
	}
	for fingerprint, value := range c.graves {
		g, err := decodeGroup(fingerprint, value)
		if err != nil || g.Count != counts[fingerprint] {
			c.problem("group %s of dead jobs has %d, but %d are counted", fingerprint, counts[fingerprint], g.Count)
		}
		delete(counts, fingerprint)
	}
	for fingerprint, n := range counts {
		c.problem("group %s of dead jobs has %d, but there is no such group", fingerprint, n)
	}
}

// checkRedrives holds what control says of redrives against those that go on.
func (c *checker) checkRedrives(canaries int) {
	if n := len(c.canaries); n != canaries {
		c.problem("%d canaries, but %d are counted", n, canaries)
	}
	for id, op := range c.canaries {
		if _, ok := c.redriving[op]; !ok {
			c.problem("job %s is a canary of redrive %s, which does not go on", id, op)
		}
	}
	for op := range c.redriving {
		if _, ok := c.redrives[op]; !ok {
			c.problem("redrive %s goes on, but is not listed", op)
		}
		if c.control["redrive"] == "" {
			c.problem("redrive %s goes on, but nobody would look at it", op)
		}
	}
}

// validLease reports whether a lease reads "token started consumer[ g<group>][ h<ms>][ c]".
func validLease(lease string) bool {
	f := strings.Fields(lease)
	if len(f) < 3 || len(f) > 6 {
		return false
	}
	marks := f[3:]
	if len(marks) > 0 && marks[0][0] == 'g' {
		if ValidateGroup(marks[0][1:]) != nil {
			return false
		}
		marks = marks[1:]
	}
	if len(marks) > 0 && marks[0][0] == 'h' {
		if _, err := strconv.ParseInt(marks[0][1:], 10, 64); err != nil {
			return false
		}
		marks = marks[1:]
	}
	_, err := strconv.ParseInt(f[1], 10, 64)
	return err == nil && (len(marks) == 0 || len(marks) == 1 && marks[0] == "c")
}

func scanHash(ctx context.Context, client redis.UniversalClient, key string, fn func(field, value string)) error {
	var cursor uint64
	for {
		kv, next, err := client.HScan(ctx, key, cursor, "", 1000).Result()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(kv); i += 2 {
			fn(kv[i], kv[i+1])
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func readSet(ctx context.Context, client redis.UniversalClient, key string) (map[string]float64, error) {
	out := map[string]float64{}
	for start := int64(0); ; start += 1000 {
		zs, err := client.ZRangeWithScores(ctx, key, start, start+999).Result()
		if err != nil {
			return nil, err
		}
		for _, z := range zs {
			out[z.Member.(string)] = z.Score
		}
		if len(zs) < 1000 {
			return out, nil
		}
	}
}

func readList(ctx context.Context, client redis.UniversalClient, key string) ([]string, error) {
	var out []string
	for start := int64(0); ; start += 1000 {
		part, err := client.LRange(ctx, key, start, start+999).Result()
		if err != nil {
			return nil, err
		}
		if out = append(out, part...); len(part) < 1000 {
			return out, nil
		}
	}
}

// loadOutbox reads what lua/after.lua keeps.
func (c *checker) loadOutbox(ctx context.Context, client redis.UniversalClient, control string) (err error) {
	base := strings.TrimSuffix(control, "control")
	if c.outbox, err = readSet(ctx, client, base+"outbox"); err != nil {
		return err
	}
	c.endings, c.troubles = map[string]bool{}, map[string]bool{}
	if err = scanHash(ctx, client, base+"endings", func(key, _ string) { c.endings[key] = true }); err != nil {
		return err
	}
	return scanHash(ctx, client, base+"troubles", func(key, _ string) { c.troubles[key] = true })
}

func (c *checker) checkOutbox() {
	for key, at := range c.outbox {
		if !c.endings[key] {
			c.problem("the outbox holds %s, which is no ending", key)
		}
		if due, err := strconv.ParseFloat(c.control["outbox"], 64); err != nil || due > at {
			c.problem("ending %s is due before the outbox is looked at", key)
		}
	}
	for key := range c.endings {
		if _, ok := c.outbox[key]; !ok {
			c.problem("ending %s is not in the outbox: what follows would never be pushed", key)
		}
	}
	for key := range c.troubles {
		if !c.endings[key] {
			c.problem("troubles holds %s, which is no ending", key)
		}
	}
}
