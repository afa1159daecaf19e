-- redrive makes dead jobs wait again, oldest first, a bounded number a call.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 at most so many, 2 only those that died up to then (ms), 3 channel, 4 type
-- Returns how many
local known = call('GET', REQUEST)
if known then return known end

local ids = call('ZRANGEBYSCORE', DEAD, '-inf', ARGV[2], 'LIMIT', 0, ARGV[1])
if #ids == 0 then return '0' end
for i, rec in ipairs(call('HMGET', JOBS, unpack(ids))) do
  local _, p, b, failed, lost, e, w, tail = parse(rec)
  call('HSET', JOBS, ids[i], record('q', p, b, 0, 0, e, w, '', tail))
  unique_again(ids[i], tail)
  enqueue_waiting(ids[i], p)
end
call('ZREM', DEAD, unpack(ids))
unburied(ids)
call('PUBLISH', ARGV[3], ARGV[4])
return answered(int(#ids))
