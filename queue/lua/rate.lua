-- rate: limits of so many starts in so long, by the generic cell rate
-- algorithm (GCRA; ITU-T I.371). Put before the scripts that need it.
--
-- What is kept of such a limit is one time in µs: when its starts so far would
-- be over if they were spread evenly ("tat", theoretical arrival time). Within
-- any time t no more than burst + t * limit / per jobs start: steps are rounded
-- up to whole µs, never down.

-- The functions are one table, since a script may have 200 local variables.
local Rate = lazy(function(Rate)
  -- Rate.of reads "limit per burst" (per in µs); nil if there is none.
  function Rate.of(text)
    local limit, per, burst = string.match(text or '', '^(%d+) (%d+) (%d+)$')
    limit = tonumber(limit or 0)
    return limit > 0 and {limit = limit, per = tonumber(per), burst = tonumber(burst)} or nil
  end

  -- Rate.tat reads a stored tat: one in the past is as good as now.
  function Rate.tat(tat, us) return math.max(tonumber(tat or 0), us) end

  -- Rate.room says how many may start now.
  function Rate.room(rate, tat, us)
    return math.max(math.floor(rate.burst + (us - tat) * rate.limit / rate.per), 0)
  end

  -- Rate.spent is the tat after n starts.
  function Rate.spent(rate, tat, n) return tat + math.ceil(n * rate.per / rate.limit) end

  -- Rate.next says when the next may start, in ms.
  function Rate.next(rate, tat)
    return math.ceil((tat - (rate.burst - 1) * rate.per / rate.limit) / 1000)
  end

  -- Rate.changed: what a slower rate left behind holds no longer than a full burst of the new one.
  function Rate.changed(before, after)
    local tat = before ~= after and call('HGET', CONTROL, 'tat')
    local rate = Rate.of(after)
    if not tat then return end
    if rate then
      call('HSET', CONTROL, 'tat', int(math.min(tonumber(tat), select(2, clock()) + math.ceil(rate.burst * rate.per / rate.limit))))
    else
      call('HDEL', CONTROL, 'tat')
    end
  end
end)
