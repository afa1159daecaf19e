-- delete removes a schedule and all that is known of it, provided that its version is the expected one.
-- A tick that was taken and has not become a job yet is dropped.
--
-- ARGV  1 name, 2 expected version (0: any), 3 channel to announce the change on
-- Returns {"deleted", version it had}, {"missing", 0} or {"mismatch", current version}
local seen = call('GET', REQUEST)
if seen then return {'deleted', seen} end

local current = call('HGET', SCHEDULES, ARGV[1])
if not current then return {'missing', '0'} end
local version = string.match(current, '^%d+')
if ARGV[2] ~= '0' and ARGV[2] ~= version then return {'mismatch', version} end

call('SET', REQUEST, version, 'PX', 60000)
call('HDEL', SCHEDULES, ARGV[1])
call('ZREM', DUE, ARGV[1])
call('HDEL', LAST, ARGV[1])
call('DEL', HISTORY)
local mine = ARGV[1] .. ' '
for _, entry in ipairs(call('ZRANGE', TAKEOVER, 0, -1)) do
  if string.sub(entry, 1, #mine) == mine then
    call('ZREM', TAKEOVER, entry)
    call('HDEL', OUTBOX, entry)
  end
end
call('PUBLISH', ARGV[3], ARGV[1])
return {'deleted', version}
