-- Deletes a job type, provided that its version is the expected one.
--
-- KEYS[1]  hash of all types: name -> record
-- KEYS[2]  revision: "<counter> <request ID of the last change>"
-- KEYS[3]  answer to this request, kept a minute for its repetitions
-- ARGV[1]  name of the type
-- ARGV[2]  expected version; 0: any
-- ARGV[3]  request ID, made before the first try
-- ARGV[4]  channel to announce the change on
--
-- Returns {"deleted", version it had}, {"missing", 0} or {"mismatch", current version}.

local seen = redis.call('GET', KEYS[3])
if seen then
  local status, version = string.match(seen, '^(%a+) (.*)$')
  return {status, version}
end

local current = redis.call('HGET', KEYS[1], ARGV[1])
if not current then
  return {'missing', '0'}
end
local version = string.match(current, '^%d+')
if ARGV[2] ~= '0' and ARGV[2] ~= version then
  return {'mismatch', version}
end

local last = string.match(redis.call('GET', KEYS[2]) or '0', '^%d+')
local revision = string.format('%.0f', math.max(tonumber(last), tonumber(version)) + 1)

-- The first write may be refused for want of memory, so it is one that needs some.
redis.call('SET', KEYS[3], 'deleted ' .. version, 'PX', 60000)
redis.call('SET', KEYS[2], revision .. ' ' .. ARGV[3])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[4], 'delete ' .. revision .. ' ' .. ARGV[1])
return {'deleted', version}
