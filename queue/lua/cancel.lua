-- cancel calls a job off. A running one gets no further attempt, and its
-- dispatcher is told.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 id, 2 channel, 3 what to publish if it is running ("" leaves it alone then), 4 if it is not, but something follows
-- Returns the job's place before: W, S (now cancelled), A (cancellation requested),
--       s, c, d (finished: nothing changed), or "" (no such job)
local known = call('GET', REQUEST)
if known then return known end

local id = ARGV[1]
local rec = call('HGET', JOBS, id)
local at = place(id, rec)
if not at then return '' end
if at == 'A' and ARGV[3] == '' then
  return at
elseif at == 'A' then
  local held = call('HGET', LEASES, id)
  if held and not cancelling(held) then call('HSET', LEASES, id, held .. ' c') end
  call('PUBLISH', ARGV[2], ARGV[3])
elseif at == 'W' or at == 'S' then
  local now = clock()
  if at == 'S' then call('ZREM', SCHEDULED, id) else left_over(rec) end
  cancel_now(id, rec, '0', now)
  local _, _, _, failed, _, e, _, tail = parse(rec)
  ended(id, 'c', e, failed, tail, now, '')
  if outbox_filled then call('PUBLISH', ARGV[2], ARGV[4]) end
  local kept = call('HMGET', CONTROL, 'keep', 'age')
  retain(now, tonumber(kept[1] or 1000), tonumber(kept[2] or 86400000), 100)
else
  return at
end
return answered(at)
