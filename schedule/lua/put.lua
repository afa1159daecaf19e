-- put creates or replaces a schedule, provided that its version is the expected one.
--
-- ARGV  1 name, 2 expected version (0: must not exist), 3 request ID, 4 the schedule as JSON,
--       5 channel to announce the change on, 6 its next tick, ms ("" as it was, "-" none),
--       7 when it was created, if it is new, ms: by this its ticks may be counted
-- Returns {"created" | "replaced", record, next tick or ""} or {"mismatch", current version, 0 if none, ""}
local seen = call('GET', REQUEST)
if seen then
  local status, at, record = string.match(seen, '^(%a+) (%d*) (.*)$')
  return {status, record, at}
end

local current = call('HGET', SCHEDULES, ARGV[1])
local version, created = '0', nil
if current then version, created = string.match(current, '^(%d+) (%d+) ') end
if version ~= ARGV[2] then return {'mismatch', version, ''} end

local now = int(clock())
local next_version = int(math.max(tonumber(call('GET', REVISION) or 0), tonumber(version)) + 1)
local status = current and 'replaced' or 'created'
local record = next_version .. ' ' .. (created or ARGV[7]) .. ' ' .. now .. ' ' .. ARGV[3] .. '\n' .. ARGV[4]
call('HSET', SCHEDULES, ARGV[1], record)
call('SET', REVISION, next_version)
if ARGV[6] == '-' then
  call('ZREM', DUE, ARGV[1])
elseif ARGV[6] ~= '' then
  call('ZADD', DUE, ARGV[6], ARGV[1])
end
local at = call('ZSCORE', DUE, ARGV[1])
at = at and int(tonumber(at)) or ''
call('SET', REQUEST, status .. ' ' .. at .. ' ' .. record, 'PX', 60000)
call('PUBLISH', ARGV[5], ARGV[1])
return {status, record, at}
