package main

// scenario is a Redis and the faults that are made.
type scenario struct {
	name, about string
	open        func() (store, error)
	kinds       []kind
}

func scenarios() []scenario {
	all := []kind{killed(), asleep(), rolled(), redisKilled(), redisAway(), redisRestarted(), redisStalled(), redisHung(), scriptsFlushed(), redisFull()}
	return []scenario{
		{"rolling", "SIGTERM under load: nothing runs twice", openSingle("everysec"), []kind{rolled()}},
		{"kills", "kill -9 of dispatchers: their jobs run elsewhere when the leases end", openSingle("everysec"), []kind{killed()}},
		{"stall", "Redis stalls, or is restarted, for less than half a lease: nothing runs twice", openSingle("always"),
			[]kind{redisStalled(), redisRestarted(), redisKilled(), scriptsFlushed(), redisFull()}},
		{"always", "one Redis, appendfsync always: nothing answered is lost", openSingle("always"), append(all, powerCut())},
		{"everysec", "one Redis, appendfsync everysec: up to 3 s may be lost", openSingle("everysec"), append(all, powerCut())},
		{"network", "each dispatcher reaches Redis by a line of its own, that is slow, cut, or loses one direction", openNetworked,
			append(network(), killed(), rolled())},
		{"sentinel", "a master, two replicas and three Sentinels: what a failover forgets may be lost", openSentinel, append(failovers(), killed(), rolled())},
		{"cluster", "three masters with a replica each: likewise", openCluster, append(failovers(), planned(), killed(), rolled())},
	}
}
