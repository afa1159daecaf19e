-- conclude ends an attempt because its handler called back: done or failed.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 id, 2 callback token, 3 verdict (d done, r failed, x failed for good), 4 result or error ("" none),
--       5 delay before the next attempt (ms, "" by the type's policy), 6 channel, 7 type
-- Returns 1, or 0 if the token is none of an attempt that still runs: nothing was changed
local known = call('GET', REQUEST)
if known then return tonumber(known) end

local id, verdict, text = ARGV[1], ARGV[3], ARGV[4]
local held, rec = call('HGET', LEASES, id), call('HGET', JOBS, id)
if not held or not rec or not parse(rec) or redis.sha1hex('callback ' .. string.match(held, '^%S+')) ~= ARGV[2] then return 0 end

local now = clock()
Batch.left({string.match(held, '^%S+')})
if verdict == 'd' then
  -- Before its request is answered this is the first that is heard of the target.
  if not handed(held) then
    local c = call('HMGET', CONTROL, 'outage', 'held', 'limit')
    local token, started = string.match(held, '^(%S+) (%d+)')
    Outage.begin(c[1], c[2])
    Outage.tell(Outage.delivery(token), false, tonumber(started), 'w', '', 0, tonumber(c[3] or 0), now)
    Outage.finish()
  end
  local _, p, b, failed, lost, e, w, tail = parse(rec)
  failed = failed + 1
  local ending, line = Conclusion.closing(id, held, now, failed, 'succeeded')
  call('HSET', JOBS, id, record('s', p, b, failed, lost, e, w, ending, doubt(tail, false)))
  call('RPUSH', FINISHED, id .. ' ' .. int(now))
  ended(id, 's', e, failed, tail, now, text)
  if text ~= '' then call('HSET', RESULTS, id, text) end
  if failed > 1 or lost > 0 then remember(id, line) end
  Canary.succeeded({id}, now)
else
  local at = Conclusion.fail(id, rec, held, now, text, verdict == 'x', tonumber(ARGV[5]))
  if at then lower_due(at) end
end
local kept = call('HMGET', CONTROL, 'keep', 'age')
retain(now, tonumber(kept[1] or 1000), tonumber(kept[2] or 86400000), 100)
call('PUBLISH', ARGV[6], ARGV[7]) -- there is a free slot, and no lane waits for it
return tonumber(answered('1'))
