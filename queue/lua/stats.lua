-- stats counts a type's jobs by state.
--
-- KEYS  see the prelude
-- Returns {waiting by list (5), left-over entries, scheduled, active, dead, finished, limit,
--       paused, hold (ms left), age of the oldest waiting job (ms, -1 none), now,
--       state of outage.lua ("" none), settings and state of adaptive.lua ("" none),
--       endings not relayed yet, and how many of these gave trouble}
local now = clock()
local c = call('HMGET', CONTROL, 'limit', 'paused', 'hold', 'wstale', 'fstale', 'held', 'adaptive', 'adapt')
local out, oldest = {}, nil
for p = 1, 5 do
  out[p] = call('LLEN', WAITING[p])
  -- Left-over entries are passed over, but not without end.
  for _, id in ipairs(call('LRANGE', WAITING[p], 0, tonumber(c[4] or 0) > 0 and 99 or 0)) do
    local rec = call('HGET', JOBS, id)
    if place(id, rec) == 'W' then
      local _, at, _, _, _, e, w = parse(rec)
      if at == p then
        local since = tonumber(e) + tonumber(w)
        if not oldest or since < oldest then oldest = since end
        break
      end
    end
  end
end
out[6] = tonumber(c[4] or 0)
out[7], out[8], out[9] = call('ZCARD', SCHEDULED), call('ZCARD', ACTIVE), call('ZCARD', DEAD)
out[10] = call('LLEN', FINISHED) - tonumber(c[5] or 0)
out[11], out[12] = tonumber(c[1] or 0), tonumber(c[2] or 0)
out[13] = math.max(tonumber(c[3] or 0) - now, 0)
out[14] = oldest and math.max(now - oldest, 0) or -1
out[15] = int(now)
out[16], out[17], out[18] = c[6] or '', c[7] or '', c[7] and c[8] or ''
out[19], out[20] = call('ZCARD', OUTBOX), call('HLEN', TROUBLES)
return out
