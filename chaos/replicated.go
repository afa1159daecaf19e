package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/deetoo/deetoo/chaos/verify"
	"github.com/deetoo/deetoo/internal/redistest"
)

// replicated is a store with masters and replicas that fails over by itself.
type replicated struct {
	kind  string // Sentinel or Cluster
	where string // its URL
	nodes []*redistest.Server
	group []int // the shard of each node
	// sentinels, if there are any, must agree with the nodes.
	sentinels []*redistest.Server
	busy      sync.Mutex
	shut      func() error
}

func (s *replicated) url(int) string { return s.where }
func (s *replicated) direct() string { return s.where }
func (s *replicated) close() error   { return s.shut() }

// safely is how a replicated Redis should be set up, with short times.
func safely() redistest.Options {
	return redistest.Options{Args: []string{
		"--appendonly", "yes", "--appendfsync", "everysec", "--min-replicas-to-write", "1", "--min-replicas-max-lag", "5",
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}}
}

// masterName is what Sentinels call the master.
const masterName = "chaos"

// openSentinel starts a master, two replicas and three Sentinels.
func openSentinel() (store, error) {
	s := &replicated{kind: "Sentinel"}
	s.shut = func() error {
		var errs []error
		for _, n := range append(s.sentinels, s.nodes...) {
			errs = append(errs, n.Close())
		}
		return errors.Join(errs...)
	}
	for range 3 {
		n, err := redistest.Start(safely())
		if err != nil {
			return s, err
		}
		s.nodes, s.group = append(s.nodes, n), append(s.group, 0)
		if n == s.nodes[0] {
			continue
		}
		// Not by an argument: one that has become master would come back as a replica, which Sentinel writes into its file else.
		host, port, _ := strings.Cut(s.nodes[0].Addr(), ":")
		if err := n.Client().SlaveOf(context.Background(), host, port).Err(); err != nil {
			return s, err
		}
	}
	var addrs []string
	for range 3 {
		n, err := redistest.StartSentinel(masterName, s.nodes[0])
		if err != nil {
			return s, err
		}
		s.sentinels, addrs = append(s.sentinels, n), append(addrs, n.Addr())
	}
	s.where = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + masterName
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		known := 0
		for _, n := range s.sentinels {
			m, err := n.Client().Do(context.Background(), "SENTINEL", "MASTER", masterName).Result()
			if err == nil {
				text := fmt.Sprint(m)
				if strings.Contains(text, "num-slaves:2") && strings.Contains(text, "num-other-sentinels:2") {
					known++
				}
			}
		}
		if known == len(s.sentinels) {
			return s, s.settled(30 * time.Second)
		}
	}
	return s, errors.New("the Sentinels do not find each other and the replicas")
}

// openCluster starts three masters with a replica each.
func openCluster() (store, error) {
	c, err := redistest.StartCluster(safely())
	if err != nil {
		return nil, err
	}
	s := &replicated{kind: "Cluster", where: "redis+cluster://" + strings.Join(c.Addrs(), ","), shut: c.Close}
	s.nodes = append(s.nodes, c.Nodes...)
	for i := range c.Nodes {
		s.group = append(s.group, i)
	}
	for i := range c.Nodes {
		n, err := c.AddReplica(i, safely())
		if err != nil {
			return s, err
		}
		s.nodes, s.group = append(s.nodes, n), append(s.group, i)
	}
	return s, s.settled(30 * time.Second)
}

// masters are the present ones, as the nodes themselves believe, by shard; nil
// while a shard has none or two, or a replica has no link to its master.
func (s *replicated) masters() []*redistest.Server {
	all := make([]*redistest.Server, s.group[len(s.group)-1]+1)
	for i, n := range s.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		info, err := n.Client().Info(ctx, "replication").Result()
		cancel()
		switch {
		case err != nil:
			return nil
		case strings.Contains(info, "role:master") && all[s.group[i]] != nil:
			return nil
		case strings.Contains(info, "role:master"):
			all[s.group[i]] = n
		case !strings.Contains(info, "master_link_status:up"):
			return nil
		}
	}
	for _, n := range all {
		if n == nil {
			return nil
		}
	}
	for _, n := range s.sentinels {
		addr, err := n.Client().Do(context.Background(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName).StringSlice()
		if err != nil || strings.Join(addr, ":") != all[0].Addr() {
			return nil
		}
	}
	return all
}

// settled waits until all nodes are there and agree.
func (s *replicated) settled(within time.Duration) error {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if s.masters() != nil {
			return nil
		}
	}
	return fmt.Errorf("the %s does not settle within %s", s.kind, within)
}

// ofMaster makes a kind of fault that hits one master, and lasts until all nodes
// agree again. As replication is asynchronous, a second may be lost, and what a master that is cut off says.
func ofMaster(name string, harmless bool, hit func(s *replicated, master *redistest.Server, length time.Duration) error) kind {
	return kind{name, func(f *field, target int, force float64) error {
		s := f.store.(*replicated)
		s.busy.Lock()
		defer s.busy.Unlock()
		masters := s.masters()
		if masters == nil {
			return fmt.Errorf("the %s is not whole before %s", s.kind, name)
		}
		v := verify.Fault{Kind: name, Begin: time.Now()}
		if !harmless {
			v.Forgets = time.Second
		}
		err := hit(s, masters[target%len(masters)], between(f.lease/5, 2*f.lease, force))
		err = errors.Join(err, s.settled(time.Minute))
		v.End = time.Now()
		f.note(v)
		return err
	}}
}

// The faults of masters.
func failovers() []kind {
	return []kind{
		ofMaster("kill -9 of a Redis master", false, func(_ *replicated, master *redistest.Server, length time.Duration) error {
			err := master.Kill()
			time.Sleep(length)
			return errors.Join(err, master.Start())
		}),
		ofMaster("SIGSTOP of a Redis master", false, func(_ *replicated, master *redistest.Server, length time.Duration) error {
			err := master.Signal(syscall.SIGSTOP)
			time.Sleep(length)
			return errors.Join(err, master.Signal(syscall.SIGCONT))
		}),
		ofMaster("loss of a Redis replica", true, func(s *replicated, master *redistest.Server, length time.Duration) error {
			for i, n := range s.nodes {
				if n == master || s.nodes[i] == nil || s.shard(n) != s.shard(master) {
					continue
				}
				err := n.Kill()
				time.Sleep(length)
				return errors.Join(err, n.Start())
			}
			return nil
		}),
	}
}

func (s *replicated) shard(n *redistest.Server) int {
	for i, other := range s.nodes {
		if other == n {
			return s.group[i]
		}
	}
	return -1
}

// planned has a replica take over from its master, which hands all over before.
func planned() kind {
	return ofMaster("planned failover", false, func(s *replicated, master *redistest.Server, _ time.Duration) error {
		for _, n := range s.nodes {
			if n != master && s.shard(n) == s.shard(master) {
				if err := n.Client().ClusterFailover(context.Background()).Err(); err != nil {
					return err
				}
				time.Sleep(time.Second) // it has only begun
				return nil
			}
		}
		return errors.New("a shard of " + strconv.Itoa(len(s.nodes)) + " nodes has no replica")
	})
}
