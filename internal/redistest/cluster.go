package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	masters = 3
	slots   = 16384
)

// ClusterServers is a Redis Cluster of three masters without replicas.
type ClusterServers struct {
	// Nodes are the masters; the n-th holds the n-th third of the slots.
	Nodes  []*Server
	client *redis.ClusterClient
	// replicas were added.
	replicas []*Server
}

// StartCluster starts a cluster and waits until every node calls it ok. That
// takes a little over two seconds, since a new master refuses to speak for
// its slots for two seconds (CLUSTER_WRITABLE_DELAY in Redis' source). The
// options hold for each node. Close ends it.
func StartCluster(opts Options) (*ClusterServers, error) {
	c := &ClusterServers{Nodes: make([]*Server, masters)}
	errs := make([]error, masters)
	var wg sync.WaitGroup
	for i := range c.Nodes {
		wg.Go(func() { c.Nodes[i], errs[i] = start(opts.Args, true) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		err = c.join()
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.client = redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                    c.Addrs(),
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return c, nil
}

// AddReplica adds a replica of the nth master and returns it once it has all of
// the master's data. It is closed by Close.
func (c *ClusterServers) AddReplica(n int, opts Options) (*Server, error) {
	s, err := start(opts.Args, true)
	if err != nil {
		return nil, err
	}
	c.replicas = append(c.replicas, s)
	ctx, cancel := context.WithTimeout(context.Background(), 2*startTimeout)
	defer cancel()
	master := c.Nodes[n]
	id, err := master.client.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return nil, err
	}
	bus, err := master.client.ConfigGet(ctx, "cluster-port").Result()
	if err == nil {
		err = s.client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", master.port, bus["cluster-port"]).Err()
	}
	if err != nil {
		return nil, err
	}
	// It must hear of the master first.
	for err = s.client.ClusterReplicate(ctx, id).Err(); err != nil && ctx.Err() == nil; err = s.client.ClusterReplicate(ctx, id).Err() {
		time.Sleep(poll)
	}
	for err == nil {
		var info string
		if info, err = s.client.Info(ctx, "replication").Result(); strings.Contains(info, "master_link_status:up") {
			return s, nil
		}
		time.Sleep(poll)
	}
	return nil, fmt.Errorf("replica %s of %s: %w", s.Addr(), master.Addr(), err)
}

// Addrs are the addresses of the nodes, in the order of Nodes.
func (c *ClusterServers) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		addrs[i] = n.Addr()
	}
	return addrs
}

// Client is a client of the cluster, the same at each call. Close closes it.
func (c *ClusterServers) Client() redis.UniversalClient { return c.client }

// Close ends the nodes that run and removes their folders.
func (c *ClusterServers) Close() error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	for _, n := range append(c.replicas, c.Nodes...) {
		if n != nil {
			errs = append(errs, n.Close())
		}
	}
	return errors.Join(errs...)
}

// join gives out the slots, introduces each node to each, which is quicker
// than gossip, and waits until all agree.
func (c *ClusterServers) join() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for i, n := range c.Nodes {
		first, last := i*slots/masters, (i+1)*slots/masters-1
		pipe := n.client.Pipeline()
		// Different epochs from the start spare the nodes a dispute over them.
		pipe.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		pipe.ClusterAddSlotsRange(ctx, first, last)
		for _, other := range c.Nodes[:i] {
			bus, err := other.client.ConfigGet(ctx, "cluster-port").Result()
			if err != nil {
				return fmt.Errorf("cluster port of %s: %w", other.Addr(), err)
			}
			pipe.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", other.port, bus["cluster-port"])
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("make a cluster of %s: %w", n.Addr(), err)
		}
	}
	for _, n := range c.Nodes {
		if err := n.awaitCluster(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) awaitCluster(ctx context.Context) error {
	wanted := []string{
		"cluster_state:ok\r", fmt.Sprintf("cluster_slots_ok:%d\r", slots),
		fmt.Sprintf("cluster_known_nodes:%d\r", masters), fmt.Sprintf("cluster_size:%d\r", masters),
	}
	for {
		info, err := s.client.ClusterInfo(ctx).Result()
		if err != nil {
			return fmt.Errorf("cluster state of %s: %w", s.Addr(), err)
		}
		missing := ""
		for _, w := range wanted {
			if !strings.Contains(info, w) {
				missing = strings.TrimSpace(w)
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no cluster within %v: %s does not say %s but: %s", startTimeout, s.Addr(), missing, info)
		case <-time.After(poll):
		}
	}
}
