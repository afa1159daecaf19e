-- Settles jobs and claims others, and does nothing else.
-- KEYS waiting (list of ids), jobs (hash), active (zset)   ARGV want, ids done…
local done = {}
for i = 2, #ARGV do done[#done + 1] = ARGV[i] end
if #done > 0 then
  redis.call('ZREM', KEYS[3], unpack(done))
  redis.call('HDEL', KEYS[2], unpack(done))
end
local want = tonumber(ARGV[1])
if want <= 0 then return {} end
local ids = redis.call('LPOP', KEYS[1], want)
if not ids then return {} end
local now = redis.call('TIME')
local add, out = {}, {}
local data = redis.call('HMGET', KEYS[2], unpack(ids))
for i, id in ipairs(ids) do
  add[#add + 1] = now[1] + 15
  add[#add + 1] = id
  out[#out + 1] = id
  out[#out + 1] = data[i]
end
redis.call('ZADD', KEYS[3], unpack(add))
return out
