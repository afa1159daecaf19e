// Package embedded is the store of the zero-dependency default: a
// Redis-compatible server inside the process, durable in one folder, for one
// machine. Callers speak to it with an ordinary go-redis client and the same
// scripts as to a real Redis.
//
// The engine is miniredis, but for scripts: they run in a Lua state that is
// used again, by gopher-lua, as miniredis' own do. They see what scripts of
// Redis 7 see, without load, bit, struct and cmsgpack, and nothing of each
// other. Around it, this package keeps three promises:
//
//   - What was answered is durable. A command runs at once, in memory, and
//     its answer, whether of a write or of a read, is held back until
//     everything executed before it is on disk. One fsync serves all that
//     came meanwhile (group commit). Only pub/sub messages may run ahead of
//     the disk: they are hints, and reading what they hint at waits.
//   - What was answered is found again. The journal holds the effects of
//     commands, as Redis' own append-only file does: the writes a script
//     made, not the script. Replaying it needs neither Lua nor a clock nor
//     luck, takes microseconds a write, and a command that wrote nothing (an
//     idle poll) costs no disk. The effects of one command or transaction are
//     one record, there in full or not at all. A write that failed is
//     replayed too and fails again, on the same state. As in Redis, loaded
//     scripts are a cache that a restart empties: EVALSHA then answers
//     NOSCRIPT and the client loads again.
//   - Damage is not hidden. An unfinished end, as a crash leaves it, is cut
//     off and logged; anything else that does not check is a *CorruptError.
//
// When the folder cannot be written, every command but the handshake answers
// MISCONF, as a Redis that cannot persist does, until a full snapshot of the
// state could be written, which is tried every second. A command refused so
// while it waited for the disk has an unknown outcome: it may show after all.
//
// A journal that has grown long is compacted into a snapshot; commands wait
// some 2 µs a key while the state is copied. Now and then that also renews the
// engine, which never forgets a key's name: subscribers then reconnect, as
// after a failover, and may miss messages. The store's clock, and so TIME and
// every TTL, never goes backwards, even when the machine's does.
//
// The store has one database and no blocking commands, and refuses what it
// could not restore: consumer groups and XDEL of streams, HyperLogLogs, TTLs
// of hash fields, SPOP (not determined by its arguments). Such an answer says so.
package embedded
