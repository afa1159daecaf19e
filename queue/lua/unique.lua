-- unique: which job holds a unique key. Put before the scripts that need it.
--
--   unique       hash  key -> "till since id": the job that holds the key, since when (ms),
--                and when its window ends (ms), 0 if it holds it as long as it has not ended
--   unique:ends  zset  key by the end of its window, ms; keys without a window are not in it
--
-- A key without a window is given up when its job ends or is deleted; one with a window when that
-- ends, whatever became of the job. Windows that have ended count no more, and are swept by the keys
-- taken later, faster than they come.
local Unique = lazy(function(Unique)
  local UNIQUE = BASE .. 'unique'
  local UNIQUE_ENDS = UNIQUE .. ':ends'

  -- key_of returns the unique key in a record's tail; nil if it has none.
  local function key_of(tail)
    if string.byte(tail, 2) == 10 then return nil end -- no options: most jobs
    local options = string.match(tail, '^\n([^\n]+)')
    if not options or not string.find(options, '"k":', 1, true) then return nil end
    local key = cjson.decode(options).k
    return type(key) == 'string' and key or nil
  end

  -- holder_of returns the job that holds a key, and since when; nil if none does.
  local function holder_of(key, now)
    local till, since, id = string.match(call('HGET', UNIQUE, key) or '', '^(%d+) (%d+) (%S+)$')
    if id and (till == '0' or tonumber(till) > now) then return id, tonumber(since) end
  end

  -- Unique.take gives a key to a job, for a window of so many ms if that is not 0.
  function Unique.take(key, id, now, since, window)
    local till = window > 0 and int(now + window) or '0'
    call('HSET', UNIQUE, key, till .. ' ' .. int(since) .. ' ' .. id)
    if window > 0 then call('ZADD', UNIQUE_ENDS, till, key) else call('ZREM', UNIQUE_ENDS, key) end
    local over = call('ZRANGEBYSCORE', UNIQUE_ENDS, '-inf', int(now), 'LIMIT', 0, 4)
    if #over > 0 then
      call('HDEL', UNIQUE, unpack(over))
      call('ZREM', UNIQUE_ENDS, unpack(over))
    end
  end

  -- Unique.release gives up the key of a job that has ended, unless its window lasts.
  function Unique.release(id, tail)
    local key = key_of(tail)
    if not key then return end
    local till, holder = string.match(call('HGET', UNIQUE, key) or '', '^(%d+) %d+ (%S+)$')
    if till == '0' and holder == id then call('HDEL', UNIQUE, key) end
  end

  -- Unique.forget is Unique.release for a list of jobs that are about to be deleted before they ended.
  function Unique.forget(ids)
    if #ids == 0 or call('EXISTS', UNIQUE) == 0 then return end
    for i, rec in ipairs(call('HMGET', JOBS, unpack(ids))) do
      if rec then Unique.release(ids[i], tail_of(rec)) end
    end
  end

  -- Unique.again gives a job that begins anew its key back, if no other has it.
  function Unique.again(id, tail)
    local key = key_of(tail)
    if not key then return end
    local now = clock()
    if not holder_of(key, now) then Unique.take(key, id, now, now, 0) end
  end

  -- Unique.push says what becomes of a job to be pushed under a key that may be held. spec is
  -- "<policy> <window> <longest> <key>": j reject, p replace, i ignore, b debounce; ms. fresh says that the id was made
  -- for it. It returns the answer to give, if nothing is to be stored; else nil, the id to store it under, its wait, and
  -- what Unique.take is to be told. The records that it reads must have been written.
  function Unique.push(spec, id, fresh, wait, now)
    local policy, window, longest, key = string.match(spec, '^(%l) (%d+) (%d+) (.*)$')
    local take = {key = key, window = tonumber(window), since = now}
    local other, since = holder_of(key, now)
    if not other or fresh and other == id then return nil, id, wait, take end
    local rec = call('HGET', JOBS, other)
    local at = place(other, rec)
    local pending = at == 'W' or at == 'S'
    if policy == 'b' then
      -- One that runs has its data: what comes now is for another.
      if not pending then return nil, id, wait, take end
      take.since = since
      if tonumber(longest) > 0 then wait = math.max(math.min(wait, since + tonumber(longest) - now), 0) end
      return nil, other, wait, take
    elseif policy == 'i' then
      local due = 0
      if at == 'S' then
        due = tonumber(call('ZSCORE', SCHEDULED, other))
      elseif at then
        local _, _, _, _, _, e, w = parse(rec)
        due = e and e + w or 0
      end
      return 'i' .. (at or '-') .. int(due) .. ':' .. other
    elseif pending and (other == id or policy == 'p') then
      return nil, other, wait, take -- replaced as one of the same ID is
    end
    return 'x' .. (at or '-') .. ':' .. other
  end

  -- Unique.destroy deletes all keys.
  function Unique.destroy() call('UNLINK', UNIQUE, UNIQUE_ENDS) end
end)
