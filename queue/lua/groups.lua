-- groups: how jobs wait, those of a group in lists of their own. Put before
-- the scripts that need it.
--
-- Keys, derived from the others, so that types without groups pay nothing:
--   groups             zset  groups that have entries in lists or jobs running, by name (score 0)
--   groups:<p>:<name>  list  ids of a group waiting, a list per priority
--   groups:ring:<p>    list  the groups to be served, the next first: one job a turn
--   groups:parked      zset  "p name" of groups at a limit, by when to look again (ms; NEVER: when a job ends)
--   groups:active      hash  name -> its running jobs
--   groups:stale       hash  name -> left-over entries in its lists (counted in wstale, too)
--   groups:tat         zset  groups whose rate has been used, by their tat (µs; see rate.lua)
--   groups:popped      hash  "p name" -> entries taken from that list since it last was empty
-- control's grouped counts the entries of all these lists, grouped1 to grouped5 by priority.
--
-- A group that has entries of a priority has exactly one ticket there: in that
-- ring, or parked. So nothing is ever scanned for one that may go on.
--
-- The functions that only they need are in one table, made when it is looked into.
local Group
local NEVER = 9007199254740991 -- the largest whole number that scores hold

local function group_of(rec)
  local at = string.find(rec, '\n', 1, true)
  return at and string.byte(rec, at + 1) == 123 and Group.among(rec, at + 1) or nil -- {
end

-- stands says whether an entry of a waiting list (of group g, nil of none) stands for a job.
local function stands(id, rec, p, g)
  return place(id, rec) == 'W' and tonumber(string.sub(rec, 2, 2)) == p and group_of(rec) == g
end

-- left_over notes that the entry of a waiting job stays behind.
local function left_over(rec)
  call('HINCRBY', CONTROL, 'wstale', 1)
  local g = group_of(rec)
  if g then call('HINCRBY', Group.key(':stale'), g, 1) end
end

-- passed_over is the reverse: such an entry has come up.
local function passed_over(g)
  call('HINCRBY', CONTROL, 'wstale', -1)
  if g and call('HINCRBY', Group.key(':stale'), g, -1) <= 0 then call('HDEL', Group.key(':stale'), g) end
end

-- enqueue_waiting puts a job at the end of its list.
local function enqueue_waiting(id, p, rec)
  local g = group_of(rec)
  if g then Group.add(g, p, {id}) else call('RPUSH', WAITING[p], id) end
end

-- enqueue_first puts a job back at the head of its list. popped counts the
-- entries ever taken from a list's head, so that cursors keep their place.
local function enqueue_first(id, p, rec)
  local g = group_of(rec)
  if not g then
    call('LPUSH', WAITING[p], id)
    call('HINCRBY', CONTROL, 'popped' .. p, -1)
    return
  end
  Group.count(p, 1)
  if call('LPUSH', Group.list(p, g), id) == 1 then
    call('LPUSH', Group.ring(p), g)
    call('ZADD', Group.key(''), 0, g)
  else
    call('HINCRBY', Group.key(':popped'), p .. ' ' .. g, -1)
  end
end

Group = lazy(function(Group)
  function Group.key(name) return BASE .. 'groups' .. name end

  function Group.list(p, g) return Group.key(':' .. p .. ':' .. g) end

  function Group.ring(p) return Group.key(':ring:' .. p) end

  -- Group.among returns the group of what follows a record's first newline: the
  -- options, if any, begin with it, or with '"?":1,' before it.
  function Group.among(body, at)
    if string.byte(body, at) ~= 123 then return nil end -- {
    at = at + 1
    if string.byte(body, at + 1) == 63 then at = at + 6 end -- ?: see doubt
    return string.match(body, '^"g":"([^"]*)"', at)
  end

  -- Group.held returns the group that a lease counts against.
  function Group.held(held) return held and string.match(held, '^%S+ %d+ %S+ g(%S+)') end

  function Group.count(p, n)
    call('HINCRBY', CONTROL, 'grouped', n)
    call('HINCRBY', CONTROL, 'grouped' .. p, n)
  end

  -- Group.add puts jobs at the end of a list of a group; returns whether it was empty.
  function Group.add(g, p, ids)
    Group.count(p, #ids)
    if call('RPUSH', Group.list(p, g), unpack(ids)) > #ids then return false end
    call('RPUSH', Group.ring(p), g)
    call('ZADD', Group.key(''), 0, g)
    return true
  end

  -- Group.tidy forgets a group that has neither entries nor running jobs.
  function Group.tidy(g)
    if call('HEXISTS', Group.key(':active'), g) == 1 or
      call('EXISTS', Group.list(1, g), Group.list(2, g), Group.list(3, g), Group.list(4, g), Group.list(5, g)) > 0 then return end
    call('ZREM', Group.key(''), g)
  end

  -- Group.popped notes that n entries were taken from the head of a list, and
  -- returns whether there are more.
  function Group.popped(g, p, n)
    if call('EXISTS', Group.list(p, g)) == 1 then
      call('HINCRBY', Group.key(':popped'), p .. ' ' .. g, n)
      return true
    end
    call('HDEL', Group.key(':popped'), p .. ' ' .. g)
    return false
  end

  -- Group.ended takes a job that runs no more off its group, which may then go on.
  function Group.ended(g)
    local left = call('HINCRBY', Group.key(':active'), g, -1)
    if left <= 0 then call('HDEL', Group.key(':active'), g) end
    local tickets = {'1 ' .. g, '2 ' .. g, '3 ' .. g, '4 ' .. g, '5 ' .. g}
    for p, till in ipairs(call('ZMSCORE', Group.key(':parked'), unpack(tickets))) do
      if till and tonumber(till) >= NEVER then
        call('ZREM', Group.key(':parked'), tickets[p])
        call('RPUSH', Group.ring(p), g)
      end
    end
    if left <= 0 then Group.tidy(g) end
  end

  -- Group.limits reads "concurrency limit per burst" (0: none).
  function Group.limits(text)
    local most, rate = string.match(text or '', '^(%d+) ?(.*)$')
    return {most = tonumber(most or 0), rate = Rate.of(rate)}
  end

  -- Group.wait says when a group may start its next job: nil now, else ms or NEVER.
  function Group.wait(limits, g, us)
    if limits.most > 0 and tonumber(call('HGET', Group.key(':active'), g) or 0) >= limits.most then return NEVER end
    if limits.rate then
      local tat = Rate.tat(call('ZSCORE', Group.key(':tat'), g), us)
      if Rate.room(limits.rate, tat, us) < 1 then return Rate.next(limits.rate, tat) end
    end
  end

  -- Group.changed has all parked groups looked at again if their limits have changed, and their rates begin anew.
  function Group.changed(before, after)
    if before == after then return end
    if call('EXISTS', Group.key(':parked')) == 1 then
      call('ZUNIONSTORE', Group.key(':parked'), 1, Group.key(':parked'), 'WEIGHTS', 0)
    end
    call('UNLINK', Group.key(':tat'))
  end

  -- Group.purge gives the waiting entries of groups, most at most, to take(ids, p,
  -- group), the least urgent first, and returns how many it still might have.
  function Group.purge(most, take)
    local function from(g, p)
      local ids = call('LPOP', Group.list(p, g), most) or {}
      most = most - #ids
      if #ids > 0 then
        take(ids, p, g)
        Group.count(p, -#ids)
      end
      local more = Group.popped(g, p, #ids)
      if not more then Group.tidy(g) end
      return more
    end
    for p = 5, 1, -1 do
      while most > 0 do
        local g = call('LPOP', Group.ring(p))
        if not g then break end
        if from(g, p) then call('LPUSH', Group.ring(p), g) end
      end
    end
    while most > 0 do
      local ticket = call('ZRANGE', Group.key(':parked'), 0, 0)[1]
      if not ticket then break end
      if not from(string.sub(ticket, 3), tonumber(string.sub(ticket, 1, 1))) then call('ZREM', Group.key(':parked'), ticket) end
    end
    return most
  end

  -- Group.destroy deletes all there is of groups.
  function Group.destroy()
    local all = Group.key('')
    repeat
      local names = call('ZRANGE', all, 0, 499)
      for _, g in ipairs(names) do
        for p = 1, 5 do call('UNLINK', Group.list(p, g)) end
      end
      if #names > 0 then call('ZREM', all, unpack(names)) end
    until #names == 0
    for p = 1, 5 do call('UNLINK', Group.ring(p)) end
    call('UNLINK', Group.key(':parked'), Group.key(':active'), Group.key(':stale'), Group.key(':tat'), Group.key(':popped'))
  end
end)
