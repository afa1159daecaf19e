-- turns: claiming where there are groups: each in its turn, one job a turn. The
-- jobs without a group count as one group. Put before exchange.

local Turns = lazy(function(Turns)
  -- Turns.back puts groups back into their rings whose time has come, a bounded number.
  function Turns.back(now)
    local tickets = call('ZRANGEBYSCORE', Group.key(':parked'), '-inf', int(now), 'LIMIT', 0, 1000)
    if #tickets == 0 then return end
    call('ZREM', Group.key(':parked'), unpack(tickets))
    for _, t in ipairs(tickets) do call('RPUSH', Group.ring(string.sub(t, 1, 1)), string.sub(t, 3)) end
  end

  -- Turns.take calls take(id, p, group) for the jobs whose turn it is, until that
  -- has taken n or budget entries were looked at. take says whether the entry stood
  -- for a job; one that did not is no turn. Returns the turn and what is left of the budget.
  function Turns.take(n, budget, turn, limits, now, us, take)
    Turns.back(now)
    local plain, ring, gap = {}, {}, {}
    for p = 1, 5 do
      plain[p], ring[p] = call('LLEN', WAITING[p]), call('LLEN', Group.ring(p))
      gap[p] = tonumber(call('HGET', CONTROL, 'gap' .. p) or 0)
    end
    local gaps, counted, got = {}, {0, 0, 0, 0, 0}, 0

    local function from_plain(p)
      local id = call('LPOP', WAITING[p])
      call('HINCRBY', CONTROL, 'popped' .. p, 1)
      plain[p], budget = plain[p] - 1, budget - 1
      if not take(id, p) then return false end
      gap[p] = ring[p] -- jobs of groups before the next without one
      return true
    end

    local function from_ring(p)
      local g = call('LPOP', Group.ring(p))
      budget = budget - 1
      local till = Group.wait(limits, g, us)
      if till then
        call('ZADD', Group.key(':parked'), int(till), p .. ' ' .. g)
        ring[p] = ring[p] - 1
        return false
      end
      local found, more, popped = false, true, 0
      while more and not found and budget > 0 do
        local id = call('LPOP', Group.list(p, g))
        if id then
          found = take(id, p, g)
          popped, budget = popped + 1, budget - 1
        end
        more = id and call('EXISTS', Group.list(p, g)) == 1
      end
      Group.popped(g, p, popped)
      counted[p] = counted[p] + popped
      if found then
        call('HINCRBY', Group.key(':active'), g, 1)
        if limits.rate then
          local tat = Rate.tat(call('ZSCORE', Group.key(':tat'), g), us)
          call('ZADD', Group.key(':tat'), int(Rate.spent(limits.rate, tat, 1)), g)
        end
        gap[p] = math.max(gap[p] - 1, 0)
      end
      if more then
        call(found and 'RPUSH' or 'LPUSH', Group.ring(p), g)
      else
        ring[p] = ring[p] - 1
        Group.tidy(g)
      end
      return found
    end

    while got < n and budget > 0 do
      local first, p = 1, nil
      if turn % 8 == 7 then first = 2 + math.floor(turn / 8) % 4 end
      for i = 0, 4 do
        local at = (first - 1 + i) % 5 + 1
        if plain[at] + ring[at] > 0 then p = at; break end
      end
      if not p then break end
      gap[p] = math.min(gap[p], ring[p])
      local found
      if plain[p] > 0 and gap[p] == 0 then found = from_plain(p) else found = from_ring(p) end
      if found then
        gaps[p] = true
        got, turn = got + 1, turn + 1
      end
    end
    for p = 1, 5 do
      if gaps[p] then call('HSET', CONTROL, 'gap' .. p, gap[p]) end
      if counted[p] > 0 then Group.count(p, -counted[p]) end
    end
    return turn, budget
  end

  -- Turns.forget drops what is known of rates that have passed: a bounded number.
  function Turns.forget(now)
    local past = call('ZRANGEBYSCORE', Group.key(':tat'), '-inf', int(now * 1000), 'LIMIT', 0, 1000)
    if #past > 0 then call('ZREM', Group.key(':tat'), unpack(past)) end
  end
end)
