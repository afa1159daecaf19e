-- expiry: jobs that must not be started after a time. Put before the scripts
-- that need it, behind unique and after.
--
-- control's expiring says that the type ever had such a job: others need not
-- look. A job's options have x, when it expires (ms), or l, how long after its push.

local Expiry = lazy(function(Expiry)
  -- Expiry.at returns when a job expires (ms), by its record's tail and when it was
  -- pushed; math.huge if never.
  function Expiry.at(tail, enqueued)
    if string.byte(tail, 2) == 10 then return math.huge end -- no options: most jobs
    local options = string.match(tail, '^\n([^\n]+)')
    if not options or not (string.find(options, '"x":', 1, true) or string.find(options, '"l":', 1, true)) then return math.huge end
    local o = cjson.decode(options)
    if type(o.x) == 'number' then return o.x end
    if type(o.l) == 'number' then return tonumber(enqueued) + o.l end
    return math.huge
  end

  -- Expiry.note puts into the history that a job's next attempt, the nth, will not be.
  function Expiry.note(id, n, now)
    remember(id, '{"n":' .. int(n) .. ',"started_at":' .. int(now) ..
      ',"duration_ms":0,"outcome":"expired","error":"it expired before this attempt could start"}')
  end

  -- Expiry.expire ends a waiting job if it has expired, and returns whether it had.
  function Expiry.expire(id, rec, now)
    local _, _, _, failed, _, e, _, tail = parse(rec)
    if not tail or Expiry.at(tail, e) > now then return false end
    cancel_now(id, rec, '0', now)
    Expiry.note(id, failed + 1, now)
    ended(id, 'c', e, failed, tail, now, '{"error":"it expired before it could start"}')
    return true
  end
end)
