-- requeue makes a job run now: a scheduled one (promote), or a finished or dead
-- one (retry), which begins anew with all its attempts; its history stays.
--
-- KEYS  see the prelude
-- ARGV  1 id, 2 which places may be requeued ("S": promote, "Sscd": retry), 3 channel, 4 type
-- Returns the job's place before, see cancel; "" if there is no such job
local id = ARGV[1]
local rec = call('HGET', JOBS, id)
local at = place(id, rec)
if not at then return '' end
if not string.find(ARGV[2], at, 1, true) then return at end
local _, p, b, failed, lost, e, w, tail = parse(rec)
if at == 'S' then
  call('ZREM', SCHEDULED, id)
else
  if at == 'd' then call('ZREM', DEAD, id) else call('HINCRBY', CONTROL, 'fstale', 1) end
  call('HDEL', RESULTS, id)
  call('HSET', JOBS, id, record('q', p, b, 0, 0, e, w, '', tail))
end
enqueue_waiting(id, p)
call('PUBLISH', ARGV[3], ARGV[4])
return at
