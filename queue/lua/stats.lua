-- stats counts a type's jobs by state.
--
-- KEYS  see the prelude
-- Returns {waiting by list (5), left-over entries, scheduled, active, dead, finished, limit,
--       paused, hold (ms left), age of the oldest waiting job (ms, -1 none), now,
--       how long the rate lets no job start (ms), state of outage.lua ("" none), settings and state of adaptive.lua ("" none),
--       endings not relayed yet, and how many of these gave trouble}
-- Of groups, the oldest is looked for in a thousand at most by priority.
local now, us = clock()
local c = call('HMGET', CONTROL, 'limit', 'paused', 'hold', 'wstale', 'fstale', 'held', 'adaptive', 'adapt', 'grouped', 'rate')
local wstale = tonumber(c[4] or 0)
local out, oldest = {}, nil

-- head takes note of the first job of a list: left-over entries are passed over, but not without end.
local function head(key, p, g)
  for _, id in ipairs(call('LRANGE', key, 0, wstale > 0 and 99 or 0)) do
    local rec = call('HGET', JOBS, id)
    if stands(id, rec, p, g) then
      local _, _, _, _, _, e, w = parse(rec)
      local since = tonumber(e) + tonumber(w)
      if not oldest or since < oldest then oldest = since end
      return
    end
  end
end

for p = 1, 5 do
  out[p] = call('LLEN', WAITING[p])
  head(WAITING[p], p)
end
if tonumber(c[9] or 0) > 0 then
  for p = 1, 5 do
    out[p] = out[p] + tonumber(call('HGET', CONTROL, 'grouped' .. p) or 0)
    for _, g in ipairs(call('LRANGE', Group.ring(p), 0, 999)) do head(Group.list(p, g), p, g) end
  end
  for _, ticket in ipairs(call('ZRANGE', Group.key(':parked'), 0, 999)) do
    local p, g = tonumber(string.sub(ticket, 1, 1)), string.sub(ticket, 3)
    head(Group.list(p, g), p, g)
  end
end
out[6] = wstale
out[7], out[8], out[9] = call('ZCARD', SCHEDULED), call('ZCARD', ACTIVE), call('ZCARD', DEAD)
out[10] = call('LLEN', FINISHED) - tonumber(c[5] or 0)
out[11], out[12] = tonumber(c[1] or 0), tonumber(c[2] or 0)
out[13] = math.max(tonumber(c[3] or 0) - now, 0)
out[14] = oldest and math.max(now - oldest, 0) or -1
out[15] = int(now)
out[16] = 0
local rate = Rate.of(c[10])
if rate then
  local tat = Rate.tat(call('HGET', CONTROL, 'tat'), us)
  if Rate.room(rate, tat, us) < 1 then out[16] = math.max(Rate.next(rate, tat) - now, 0) end
end
out[17], out[18], out[19] = c[6] or '', c[7] or '', c[7] and c[8] or ''
out[20], out[21] = call('ZCARD', After.OUTBOX), call('HLEN', After.TROUBLES)
return out
