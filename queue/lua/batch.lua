-- batch: jobs that go together, up to so many in one delivery, which takes one
-- slot. Put before the scripts that give out leases or end them.
--
-- control's batch is "size wait most" (ms; bytes of large data that one call
-- gives out); absent if jobs go alone. batched
-- says that the type ever had one: others need not look. The tokens of a batch's
-- leases begin with its name and a full stop. The key batches, a hash, counts
-- the leases left of each batch, and under "jobs" those of all: a batch keeps
-- its slot until the last has ended. gather is when jobs too few for a whole
-- batch have waited for company long enough (ms).
local batch_size, batch_wait, batch_most, gather


local Batch = lazy(function(Batch)
  local BATCHES = BASE .. 'batches'
  local CLAIM = 1000 -- jobs one call gives out at most, so that Redis is free for others soon

  -- Batch.begin reads the settings; before it, and without any, jobs go alone.
  function Batch.begin()
    local set = call('HMGET', CONTROL, 'batch', 'gather')
    local size, wait, most = string.match(set[1] or '', '^(%d+) (%d+) (%d+)$')
    batch_size, batch_wait, batch_most = tonumber(size or ''), tonumber(wait or ''), tonumber(most or '')
    gather = tonumber(set[2] or '')
  end

  -- Batch.slots says how many slots are taken: by batches, and by jobs that went alone.
  function Batch.slots()
    local active = call('ZCARD', ACTIVE)
    local jobs = tonumber(call('HGET', BATCHES, 'jobs') or 0)
    if jobs == 0 then return active end
    return active - jobs + call('HLEN', BATCHES) - 1
  end

  -- Batch.room says how many of the waiting jobs may go now, if so many slots are
  -- free: those that make whole batches; and the rest once it has waited.
  function Batch.room(free, waiting, now)
    if not batch_size then return free end
    local n = math.min(free, math.floor(CLAIM / batch_size)) * batch_size
    if batch_wait > 0 and not (gather and gather <= now) then
      n = math.min(n, math.floor(waiting / batch_size) * batch_size)
    end
    return n
  end

  -- Batch.token is the token of the ith job that a request gets.
  function Batch.token(request, i)
    if not batch_size then return request .. '-' .. int(i) end
    return request .. '-' .. math.ceil(i / batch_size) .. '.' .. i
  end

  -- Batch.trim gives back those of the jobs taken whose large data, with that of the
  -- ones before, are more than one answer should bring: thousands of jobs may be
  -- claimed at once, and each of them may have megabytes. Always leaves the first.
  function Batch.trim(taken)
    if not batch_size or #taken < 2 or call('HLEN', BLOBS) == 0 then return end
    local bytes, keep = 0, #taken
    for i, id in ipairs(taken) do
      bytes = bytes + call('HSTRLEN', BLOBS, id)
      if bytes > batch_most and i > 1 then
        keep = i - 1
        break
      end
    end
    for i = #taken, keep + 1, -1 do
      local id = taken[i]
      local rec = call('HGET', JOBS, id)
      local g = Group.held(call('HGET', LEASES, id))
      call('ZREM', ACTIVE, id)
      call('HDEL', LEASES, id)
      local p = rec and tonumber(string.match(rec, '^%l([1-5])') or '')
      if p then enqueue_first(id, p, rec) end -- a damaged record is left for fsck to report
      if g then Group.ended(g) end
      taken[i] = nil
    end
  end

  -- Batch.taken counts the jobs that a request got, and says how long those left
  -- over wait for company. It returns when they have waited (ms), if any do, and
  -- whether there are more to be had at once, with free slots to the caller.
  function Batch.taken(request, n, free, waiting, paused, now)
    if batch_size and n > 0 then
      local set = {}
      for b = 1, math.ceil(n / batch_size) do
        set[#set + 1] = request .. '-' .. b
        set[#set + 1] = math.min(batch_size, n - (b - 1) * batch_size)
      end
      call('HSET', BATCHES, unpack(set))
      call('HINCRBY', BATCHES, 'jobs', n)
    end
    local till
    if batch_size and waiting > 0 and not paused then
      -- What is overdue stays so: it only wants a slot. Else those left came last.
      till = now + batch_wait
      if gather and (n == 0 or gather <= now) then till = math.min(till, gather) end
    end
    if till ~= gather then
      if till then call('HSET', CONTROL, 'gather', int(till)) else call('HDEL', CONTROL, 'gather') end
      gather = till
    end
    if not till then return nil, false end
    return till > now and till or nil, n > 0 and free > math.ceil(n / batch_size) and (till <= now or waiting >= batch_size)
  end

  -- Batch.left takes leases that have ended, by their tokens, out of the counts.
  function Batch.left(tokens)
    local names, left, n = {}, {}, 0
    for _, token in ipairs(tokens) do
      local name = string.match(token, '^([^.]+)%.')
      if name then
        n = n + 1
        if not left[name] then
          left[name] = 0
          names[#names + 1] = name
        end
        left[name] = left[name] + 1
      end
    end
    if n == 0 then return end
    for _, name in ipairs(names) do
      if call('HINCRBY', BATCHES, name, -left[name]) <= 0 then call('HDEL', BATCHES, name) end
    end
    if call('HINCRBY', BATCHES, 'jobs', -n) <= 0 then call('DEL', BATCHES) end
  end
end)
