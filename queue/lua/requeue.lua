-- requeue makes a job run now: a scheduled one (promote), or a finished or dead
-- one (retry), which begins anew with all its attempts; its history stays.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 id, 2 which places may be requeued ("S": promote, "Sscd": retry), 3 channel, 4 type
-- Returns the job's place before, see cancel; "" if there is no such job
local known = call('GET', REQUEST)
if known then return known end

local id = ARGV[1]
local rec = call('HGET', JOBS, id)
local at = place(id, rec)
if not at then return '' end
if not string.find(ARGV[2], at, 1, true) then return at end
local _, p, b, failed, lost, e, w, tail = parse(rec)
if at == 'S' then
  call('ZREM', SCHEDULED, id)
else
  if at == 'd' then
    call('ZREM', DEAD, id)
    Graves.left({id})
  else
    call('HINCRBY', CONTROL, 'fstale', 1)
  end
  if at == 's' then
    -- A first success keeps no line of its own as long as its record tells of it.
    local started, ended, status = string.match(rec, '^%S+ %d+ %d+ %d+ %d+ (%d+) (%d+) (%d+)')
    local history = call('HGET', ATTEMPTS, id) or ''
    if not string.find(history, '"started_at":' .. started .. ',', 1, true) then
      remember(id, '{"n":' .. int(failed) .. ',"started_at":' .. started .. ',"duration_ms":' ..
        int(tonumber(ended) - tonumber(started)) .. ',"outcome":"succeeded","status":' .. status .. '}')
    end
  end
  Unique.again(id, tail)
  call('HDEL', RESULTS, id)
  call('HSET', JOBS, id, record('q', p, b, 0, 0, e, w, '', tail))
end
enqueue_waiting(id, p, rec)
call('PUBLISH', ARGV[3], ARGV[4])
return answered(at)
