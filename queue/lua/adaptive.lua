-- adaptive: the concurrency that a type's target bears, found by additive
-- increase and multiplicative decrease. Put before exchange, after batch and outage.
--
-- control's adaptive holds the settings, "min target tolerance" (target: ms of
-- latency, 0 for none), and adapt the state, a JSON object:
--   l  how many jobs may run at once; p: its first climb, which doubles it, goes on
--   n, t  answers in the present window and the sum of their latencies (ms); u: all slots were taken in it
--   b  the latency (ms) of the fastest window
--   d  when it was last lowered (ms): what began until then tells of the time before
--   at, from, why  the last move
--
-- As TCP does it (RFC 5681): it doubles at first, is lowered at most once per
-- round trip, and rises only while it is the limit that limits. Lowered to 0.7
-- as CUBIC does it (RFC 8312 section 4.5). Latency against a baseline is Vegas's idea
-- (Brakmo and Peterson, 1995); a step that grows with the root of the limit is that of
-- Netflix's concurrency-limits (Gradient2Limit).
local adaptive, pace
local pace_changed = false

local Adaptive = lazy(function(Adaptive)
  function Adaptive.begin(settings, limit, batched)
    if not settings then return end
    local least, target, tolerance = string.match(settings, '^(%S+) (%S+) (%S+)$')
    adaptive = {least = tonumber(least), target = tonumber(target), tolerance = tonumber(tolerance)}
    local state = call('HGET', CONTROL, 'adapt')
    pace = state and cjson.decode(state) or {l = adaptive.least, n = 0, t = 0, b = 0, d = 0, p = 1}
    pace.l = math.max(math.min(pace.l, limit), math.min(adaptive.least, limit))
    if not pace.u and (batched and Batch.slots() or call('ZCARD', ACTIVE)) >= pace.l then pace.u, pace_changed = 1, true end
  end

  function Adaptive.finish()
    if pace_changed then call('HSET', CONTROL, 'adapt', cjson.encode(pace)) end
  end

  function Adaptive.move(to, why, now)
    pace.n, pace.t, pace.u = 0, 0, nil
    if to == pace.l then return end
    pace.at, pace.from, pace.why, pace.l = now, pace.l, why, to
  end

  function Adaptive.lower(why, now)
    pace.d, pace.p = now, nil
    Adaptive.move(math.max(math.min(math.floor(pace.l * 0.7), pace.l - 1), adaptive.least), why, now)
  end

  -- Adaptive.tell takes note of what an attempt told of the target, and how long it took (ms).
  function Adaptive.tell(started, class, took, line, limit, now)
    -- While the outage hold is open there is nothing to be learnt.
    if not adaptive or started <= pace.d or (down and down.s) then return end
    if class == 'b' or class == 'o' then
      pace_changed = true
      Adaptive.lower(Outage.said(line), now)
      return
    elseif class ~= 'w' then
      return
    end
    pace_changed = true
    pace.n, pace.t = pace.n + 1, pace.t + took
    if pace.n < math.max(pace.l, 10) then return end
    local mean, used = pace.t / pace.n, pace.u
    local most
    if adaptive.target > 0 then
      most = adaptive.target
    elseif adaptive.tolerance > 0 then
      if pace.b > 0 then most = math.max(pace.b * adaptive.tolerance, pace.b + 10) end
      if pace.b == 0 or mean < pace.b then
        pace.b = mean
      elseif pace.l <= adaptive.least then
        -- With so few at once it is not they who make the target slow: it has become slower.
        pace.b = pace.b + (mean - pace.b) / 10
      end
    end
    if most and mean > most then
      Adaptive.lower(string.format('latency of %.0f ms, over %.0f ms', mean, most), now)
    elseif used and pace.l < limit then
      local step = pace.p and pace.l or math.ceil(math.sqrt(pace.l) / 4)
      Adaptive.move(math.min(pace.l + step, limit), string.format('%d answers with all slots taken', pace.n), now)
    else
      pace.n, pace.t, pace.u = 0, 0, nil
    end
  end

  -- Adaptive.limit returns how many slots may be used at once, of a limit, for what is known of the target. used: how many are.
  function Adaptive.limit(limit, used, now)
    if adaptive and not (down and down.s) then limit = math.min(limit, pace.l) end
    return Outage.limit(limit, used, now)
  end
end)
