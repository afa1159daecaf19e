-- outage: the hold of a type whose target is down, for all dispatchers at once.
-- Put before the scripts that need it.
--
-- control's outage holds the settings, "share of refused least most" (times in ms),
-- and held the state, a JSON object:
--   w  the last outcomes, oldest first: 1 the target failed, 0 it answered
--   q  connections refused in a row
--   s  since when the hold is open (ms); absent: it is not
--   e  why: the last error, or what the person said who opened it
--   f  it was opened by hand; u: until then (ms) it has no canary. Absent: until it is closed by hand
--   i  the time between two canaries (ms); n: when the next may go (ms)
--   j  the canary that is out, and c its delivery; in a ramp, that of the one that closed the hold; p: of the one before
--   b  when it was last closed (ms)
--   r  closed, and ramping up: how many attempts since b may run at once;
--      k, x: answers and failures at this step; o: attempts from before b may still run
--
-- While it is open nothing is claimed but one canary at a time. An attempt that
-- finds the target failing then costs nothing, nor does one that began before it closed.
local outage, down
local down_changed, down_event = false, ''

local Outage = lazy(function(Outage)
  -- Outage.delivery returns what the tokens of one delivery have in common; see batch.lua.
  function Outage.delivery(token) return string.match(token, '^[^.]*') end

  -- Outage.begin takes what control holds.
  function Outage.begin(settings, state)
    if not settings and not state then return end
    local share, of, refused, least, most = string.match(settings or '0.5 20 3 1000 60000', '^(%S+) (%d+) (%d+) (%d+) (%d+)$')
    outage = {on = settings, share = tonumber(share), of = tonumber(of), refused = tonumber(refused), least = tonumber(least), most = tonumber(most)}
    down = state and cjson.decode(state) or {w = ''}
  end

  -- Outage.finish stores the state, if it changed.
  function Outage.finish()
    if not down_changed then return end
    if not down.s and not down.r and not outage.on then
      call('HDEL', CONTROL, 'held')
    else
      call('HSET', CONTROL, 'held', cjson.encode(down), 'rare', '1')
    end
  end

  -- Outage.state is the state for those who show it; '' if all is well.
  function Outage.state()
    return down and (down.s or down.r) and cjson.encode(down) or ''
  end

  -- Outage.said returns the error in a line of history.
  function Outage.said(line)
    return line ~= '' and cjson.decode(line).error or 'no reason was given'
  end

  function Outage.open(why, now)
    down_event = 'opened'
    -- A ramp that failed goes on where the canaries were.
    down.i = down.i and math.min(down.i * 2, outage.most) or outage.least
    down.s, down.e, down.n = now, why, now + down.i
    down.w, down.q, down.c, down.r, down.b, down.k, down.x, down.o = '', nil, nil, nil, nil, nil, nil, nil
  end

  function Outage.close(now)
    down_event = 'closed'
    down.s, down.f, down.u, down.n, down.j = nil, nil, nil, nil, nil
    down.r, down.b, down.k, down.x, down.o = 1, now, 0, 0, 1
    -- CONTROL is "{prefix:type}:control", and neither of the two holds a colon.
    local prefix, typ = string.match(CONTROL, '^{([^:]*):([^:]*)}:')
    call('PUBLISH', prefix .. ':wake', typ)
  end

  function Outage.over()
    down_event = 'recovered'
    down.e, down.i, down.c, down.r, down.k, down.x, down.o = nil, nil, nil, nil, nil, nil, nil
  end

  function Outage.canary_failed(why, now, pause)
    down.p, down.c, down.j, down.e = down.c, nil, nil, why
    down.i = math.min(down.i * 2, outage.most)
    down.n = now + math.max(down.i, pause)
  end

  -- Outage.tell takes note of what an attempt told of the target: its class is one
  -- of queue.Health. It returns nil if the attempt is to be settled as it says, and
  -- else, for one that costs nothing: 'canary', or 'held'. again says that another job of its
  -- delivery has told already.
  function Outage.tell(delivery, again, started, class, line, pause, limit, now)
    if not outage then return nil end
    local bad = class == 'o' or class == 'f' or class == 'c'
    if down.s then
      local canary = down.c == delivery
      if canary and not again then
        down_changed = true
        if bad then
          Outage.canary_failed(Outage.said(line), now, pause)
        elseif class == '' then
          down.c, down.j, down.n = nil, nil, now + down.i -- called off: it told nothing
        else
          Outage.close(now)
        end
      end
      return bad and ((canary or down.p == delivery) and 'canary' or 'held') or nil
    elseif class == '' then
      return nil
    elseif down.b and started < down.b then
      return bad and 'held' or nil
    elseif again then
      return nil
    elseif down.r then
      down_changed = true
      if bad then
        down.x = down.x + 1
        if down.x >= outage.share * down.r then
          Outage.open(Outage.said(line), now)
          return 'held'
        end
      elseif class == 'w' then
        down.k = down.k + 1
        if down.k >= down.r then
          down.r, down.k, down.x = down.r * 2, 0, 0
          if down.r >= limit then Outage.over() end
        end
      end
      return nil
    elseif not outage.on or class == 'b' then
      return nil
    end
    local was, refused = down.w, down.q
    down.w = string.sub(was .. (bad and '1' or '0'), -outage.of)
    down.q = class == 'c' and (refused or 0) + 1 or nil
    -- While all goes well nothing is written.
    if down.w ~= was or down.q ~= refused then down_changed = true end
    if bad then
      local _, failed = string.gsub(down.w, '1', '')
      if failed >= outage.share * outage.of or (down.q or 0) >= outage.refused then
        Outage.open(Outage.said(line), now)
        return 'held'
      end
    end
    return nil
  end

  -- Outage.lost: the lease of an attempt ended with its dispatcher.
  function Outage.lost(token, now)
    if not down or not down.s or down.c ~= Outage.delivery(token) then return end
    down_changed = true
    Outage.canary_failed('the canary was lost with its dispatcher', now, 0)
  end

  -- Outage.limit returns how many slots may be used at once, of a limit.
  function Outage.limit(limit, used, now)
    if not down then return limit end
    if down.s then
      if down.f then
        if not down.u or now < down.u then return 0 end
        down.f, down.u, down.n, down_changed = nil, nil, now, true
      end
      -- A canary that ended in another way (removed, concluded by a callback) told nothing.
      if down.c and Outage.delivery(string.match(call('HGET', LEASES, down.j) or '', '^%S*')) ~= down.c then
        down.c, down.j, down.n, down_changed = nil, nil, now + down.i, true
      end
      if down.c or now < down.n then return 0 end
      return math.min(limit, used + 1)
    elseif down.r then
      local old, seen = 0, {}
      if down.o then
        for _, held in ipairs(call('HVALS', LEASES)) do
          local token, started = string.match(held, '^(%S+) (%d+)')
          local delivery = Outage.delivery(token or '')
          if token and not seen[delivery] and (tonumber(started) < down.b or delivery == down.c) then
            old, seen[delivery] = old + 1, true
          end
        end
        if old == 0 then down.o, down_changed = nil, true end
      end
      return math.min(limit, down.r + old)
    end
    return limit
  end

  -- Outage.took notes which job was claimed: while the hold is open it is the canary.
  function Outage.took(id, token)
    if down and down.s then down.j, down.c, down_changed = id, Outage.delivery(token), true end
  end

  -- Outage.next returns when a canary may go (ms), nil if that is not known or now.
  function Outage.next(now)
    if not down or not down.s or down.c then return nil end
    local at = down.n
    if down.f then at = down.u end
    return at and at > now and at or nil
  end

  -- Outage.remember keeps a line of an attempt that cost nothing: the last one only,
  -- so that a long outage leaves the job's other attempts in its history.
  function Outage.remember(id, line)
    if line == '' then return end
    line = string.gsub(line, '"outcome":"%a+"', '"outcome":"held"', 1)
    local old = call('HGET', ATTEMPTS, id)
    local last = old and string.match(old, '[^\n]*$')
    if last and string.find(last, '^{"n":%d+,"started_at":%d+,"duration_ms":%d+,"outcome":"held"') then
      call('HSET', ATTEMPTS, id, string.sub(old, 1, #old - #last) .. line)
    else
      remember(id, line)
    end
  end
end)
