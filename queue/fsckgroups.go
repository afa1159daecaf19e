package queue

import (
	"context"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// groupChecker holds one reading of the keys of a type's groups; see lua/groups.lua.
type groupChecker struct {
	known          map[string]float64
	rings          [5][]string
	parked         map[string]float64
	active, stale  map[string]string
	popped         map[string]string
	lists          map[groupList][]string
	leases         map[string]string // id -> the group its lease counts against
	activeByLeases map[string]int
}

type groupList struct {
	p     int
	group string
}

// lease takes note of a lease.
func (g *groupChecker) lease(id, lease string) {
	if g.leases == nil {
		g.leases, g.activeByLeases = map[string]string{}, map[string]int{}
	}
	if f := strings.Fields(lease); len(f) > 3 && f[3][0] == 'g' {
		g.leases[id] = f[3][1:]
		g.activeByLeases[f[3][1:]]++
	}
}

func (g *groupChecker) load(ctx context.Context, client redis.UniversalClient, tag string) error {
	var err error
	if g.known, err = readSet(ctx, client, tag+"groups"); err != nil {
		return err
	}
	if g.parked, err = readSet(ctx, client, tag+"groups:parked"); err != nil {
		return err
	}
	for name, hash := range map[string]*map[string]string{"active": &g.active, "stale": &g.stale, "popped": &g.popped} {
		*hash = map[string]string{}
		if err = scanHash(ctx, client, tag+"groups:"+name, func(k, v string) { (*hash)[k] = v }); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for name := range g.known {
		names[name] = true
	}
	for ticket := range g.parked {
		names[ticket[2:]] = true
	}
	for i := range g.rings {
		if g.rings[i], err = readList(ctx, client, tag+"groups:ring:"+strconv.Itoa(i+1)); err != nil {
			return err
		}
		for _, name := range g.rings[i] {
			names[name] = true
		}
	}
	g.lists = map[groupList][]string{}
	for name := range names {
		for p := 1; p <= 5; p++ {
			ids, err := readList(ctx, client, tag+"groups:"+strconv.Itoa(p)+":"+name)
			if err != nil {
				return err
			}
			if len(ids) > 0 {
				g.lists[groupList{p, name}] = ids
			}
		}
	}
	return nil
}

// checkTurns checks that each group with entries has its turn, and that the counts are right.
func (c *checker) checkTurns(waiting map[string]bool) {
	g := &c.groups
	tickets, byPriority, entries := map[groupList]int{}, [5]int{}, map[string]int{}
	for i, ring := range g.rings {
		for _, name := range ring {
			tickets[groupList{i + 1, name}]++
		}
	}
	for ticket := range g.parked {
		p, _ := strconv.Atoi(ticket[:1])
		tickets[groupList{p, ticket[2:]}]++
	}
	for at, ids := range g.lists {
		byPriority[at.p-1] += len(ids)
		entries[at.group] += len(ids)
		if n := tickets[at]; n != 1 {
			c.problem("group %s has %d turns at priority %d, where it has jobs", at.group, n, at.p)
		}
	}
	for at, n := range tickets {
		if len(g.lists[at]) == 0 {
			c.problem("group %s has %d turns at priority %d, where it has no jobs", at.group, n, at.p)
		}
	}
	total := 0
	for i, n := range byPriority {
		total += n
		if counted, _ := strconv.Atoi(c.control["grouped"+strconv.Itoa(i+1)]); counted != n {
			c.problem("%d entries in the groups' lists of priority %d, but %d are counted", n, i+1, counted)
		}
	}
	if counted, _ := strconv.Atoi(c.control["grouped"]); counted != total {
		c.problem("%d entries in the groups' lists, but %d are counted", total, counted)
	}
	waits := map[string]int{}
	for id, group := range c.groupOf {
		if waiting[id] {
			waits[group]++
		}
	}
	for name, n := range entries {
		n -= waits[name]
		if counted, _ := strconv.Atoi(g.stale[name]); counted != n {
			c.problem("%d left-over entries in the lists of group %s, but %d are counted", n, name, counted)
		}
	}
	for name := range g.stale {
		if entries[name] == 0 {
			c.problem("left-over entries are counted of group %s, which has no entries", name)
		}
	}
	for at := range g.popped {
		if p, _ := strconv.Atoi(at[:1]); len(g.lists[groupList{p, at[2:]}]) == 0 {
			c.problem("a position is kept of group %s at priority %d, where it has no jobs", at[2:], p)
		}
	}
	c.checkTurnsActive(entries)
}

func (c *checker) checkTurnsActive(entries map[string]int) {
	g := &c.groups
	for name, n := range g.active {
		if counted, _ := strconv.Atoi(n); counted != g.activeByLeases[name] {
			c.problem("%d jobs of group %s are running, but %d are counted", g.activeByLeases[name], name, counted)
		}
	}
	for name, n := range g.activeByLeases {
		if g.active[name] == "" {
			c.problem("%d jobs of group %s are running, but 0 are counted", n, name)
		}
		if _, ok := g.known[name]; !ok {
			c.problem("group %s has jobs running, but is not listed", name)
		}
	}
	for name := range entries {
		if _, ok := g.known[name]; !ok {
			c.problem("group %s has jobs waiting, but is not listed", name)
		}
	}
	for name := range g.known {
		if entries[name] == 0 && g.activeByLeases[name] == 0 {
			c.problem("group %s is listed, but has no jobs", name)
		}
	}
	for id, name := range g.leases {
		if _, ok := c.heads[id]; ok && c.groupOf[id] != name {
			c.problem("job %s counts against group %s, which is not its own", id, name)
		}
	}
}
