-- due returns the schedules whose tick has come, and takes over entries of the outbox whose
-- process has not finished them in time.
--
-- ARGV  1 how many of each at most, 2 how long an entry that is taken over is this process's, ms
-- Returns {now, when to look again (ms; "" never), {name, tick, record, …}, {entry, value, record, …}}
local now = clock()
local due, taken = {}, {}
for i, v in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])) do
  if i % 2 == 1 then
    due[#due + 1] = v
  else
    due[#due + 1] = int(tonumber(v))
    due[#due + 1] = call('HGET', SCHEDULES, due[#due - 1]) or ''
  end
end
for _, entry in ipairs(call('ZRANGEBYSCORE', TAKEOVER, '-inf', int(now), 'LIMIT', 0, ARGV[1])) do
  call('ZADD', TAKEOVER, int(now + tonumber(ARGV[2])), entry)
  taken[#taken + 1] = entry
  taken[#taken + 1] = call('HGET', OUTBOX, entry) or ''
  taken[#taken + 1] = call('HGET', SCHEDULES, string.match(entry, '^%S+')) or ''
end
local first
for _, key in ipairs({DUE, TAKEOVER}) do
  local at = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if at and (not first or tonumber(at) < first) then first = tonumber(at) end
end
return {int(now), first and int(first) or '', due, taken}
