-- Creates or replaces a job type, provided that its version is the expected one.
--
-- KEYS[1]  hash of all types: name -> record
-- KEYS[2]  revision: "<counter> <request ID of the last change>"
-- KEYS[3]  answer to this request, kept a minute for its repetitions
-- ARGV[1]  name of the type
-- ARGV[2]  expected version; 0: the type must not exist
-- ARGV[3]  request ID, made before the first try
-- ARGV[4]  the type as JSON
-- ARGV[5]  channel to announce the change on
--
-- Returns {"created" | "replaced", record} or {"mismatch", current version, 0 if none}.
-- A record is "<version> <created ms> <updated ms> <request ID>\n<JSON>".

local seen = redis.call('GET', KEYS[3])
if seen then
  local status, record = string.match(seen, '^(%a+) (.*)$')
  return {status, record}
end

local current = redis.call('HGET', KEYS[1], ARGV[1])
local version, created = '0', nil
if current then
  version, created = string.match(current, '^(%d+) (%d+) ')
end
if version ~= ARGV[2] then
  return {'mismatch', version}
end

local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local last = string.match(redis.call('GET', KEYS[2]) or '0', '^%d+')
-- The counter may have been lost; a version still never repeats for a type.
local next_version = string.format('%.0f', math.max(tonumber(last), tonumber(version)) + 1)
local status = current and 'replaced' or 'created'
local record = next_version .. ' ' .. (created or now) .. ' ' .. now .. ' ' .. ARGV[3] .. '\n' .. ARGV[4]

redis.call('HSET', KEYS[1], ARGV[1], record)
redis.call('SET', KEYS[2], next_version .. ' ' .. ARGV[3])
redis.call('SET', KEYS[3], status .. ' ' .. record, 'PX', 60000)
redis.call('PUBLISH', ARGV[5], 'put ' .. next_version .. ' ' .. ARGV[1])
return {status, record}
