-- sweep forgets types without attempts for an hour, and dispatchers silent for five minutes.
--
-- KEYS  1 the base, see record.lua
local base, call = KEYS[1], redis.call
local now = tonumber(call('TIME')[1])
local function each(key, gone)
  local all = call('HGETALL', key)
  for i = 1, #all, 2 do
    if gone(all[i + 1]) then call('HDEL', key, all[i]) end
  end
end
each(base .. ':sparks', function(points)
  local last = tonumber(string.match(points, '(%d+) %d+:%d+$') or 0)
  return last * 60 < now - 3600
end)
each(base .. ':dispatchers', function(told)
  return tonumber(string.match(told, '^%d+') or 0) < now - 300
end)
return 1
