-- advance takes the ticks of a schedule up to now, and moves it to its next one: only if the
-- tick it waits for and its version are those seen, so that each tick is taken once. In the same
-- step the ticks to be fired go into the outbox, so that none is lost if this process dies.
--
-- ARGV  1 name, 2 tick seen, 3 version seen, 4 next tick, ms ("" none), 5 how long the entries are
--       this process's, ms, 6 line of history for missed ticks ("" none), then two an entry: entry, value
-- Returns 1, or 0 if another process was first
local tick = call('ZSCORE', DUE, ARGV[1])
if not tick or int(tonumber(tick)) ~= ARGV[2] then return 0 end
local record = call('HGET', SCHEDULES, ARGV[1])
if not record or string.match(record, '^%d+') ~= ARGV[3] then return 0 end

-- The first write may be refused for want of memory, so it is one that needs some.
local mine = int(clock() + tonumber(ARGV[5]))
for i = 7, #ARGV, 2 do
  call('HSET', OUTBOX, ARGV[i], ARGV[i + 1])
  call('ZADD', TAKEOVER, mine, ARGV[i])
end
note(ARGV[6])
if ARGV[4] == '' then call('ZREM', DUE, ARGV[1]) else call('ZADD', DUE, ARGV[4], ARGV[1]) end
return 1
