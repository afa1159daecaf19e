-- outbox is the relay's side of after.lua: it takes endings, and takes them
-- away when all that follows has been pushed.
--
-- KEYS  see the prelude; 17 holds what was taken, for a repeated request
-- ARGV  1 what to do, then for
--       take:  2 at most so many, 3 for how long they are this relay's (ms)
--       done:  the keys of endings
--       defer: a key, how long until the next try (ms), tries so far, why
-- Returns {ms until an ending is due, -1 none}, and for take three an ending: key, ending, trouble ("" none)
local function next_due(now)
  local first = call('ZRANGE', After.OUTBOX, 0, 0, 'WITHSCORES')[2]
  if not first then
    call('HDEL', CONTROL, 'outbox')
    return '-1'
  end
  call('HSET', CONTROL, 'outbox', int(tonumber(first)))
  return int(math.max(tonumber(first) - now, 0))
end

local now = clock()
local out = {''}
if ARGV[1] == 'take' then
  local known = call('GET', REQUEST)
  local keys = {}
  if known then
    for key in string.gmatch(known, '%S+') do keys[#keys + 1] = key end
  else
    local due = call('HGET', CONTROL, 'outbox')
    if due and tonumber(due) <= now then
      keys = call('ZRANGEBYSCORE', After.OUTBOX, '-inf', int(now), 'LIMIT', 0, ARGV[2])
      for _, key in ipairs(keys) do call('ZADD', After.OUTBOX, 'XX', int(now + tonumber(ARGV[3])), key) end
      if #keys > 0 then answered(table.concat(keys, ' ')) end
    end
  end
  if #keys > 0 then
    local endings, troubles = call('HMGET', After.ENDINGS, unpack(keys)), call('HMGET', After.TROUBLES, unpack(keys))
    for i, key in ipairs(keys) do
      if endings[i] then
        out[#out + 1] = key
        out[#out + 1] = endings[i]
        out[#out + 1] = troubles[i] or ''
      end
    end
  end
elseif ARGV[1] == 'done' then
  call('ZREM', After.OUTBOX, unpack(ARGV, 2))
  call('HDEL', After.ENDINGS, unpack(ARGV, 2))
  call('HDEL', After.TROUBLES, unpack(ARGV, 2))
elseif call('ZSCORE', After.OUTBOX, ARGV[2]) then
  call('ZADD', After.OUTBOX, int(now + tonumber(ARGV[3])), ARGV[2])
  call('HSET', After.TROUBLES, ARGV[2], ARGV[4] .. ' ' .. ARGV[5])
end
out[1] = next_due(now)
return out
