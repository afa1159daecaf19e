-- last names the job that the ticks before led to.
--
-- ARGV  1 name, 2 tick, ms
-- Returns "<type> <job ID> <ms>", "" if there was none, or "pending" if a tick before has not become a job yet
local mine = ARGV[1] .. ' '
for _, entry in ipairs(call('ZRANGE', TAKEOVER, 0, -1)) do
  if string.sub(entry, 1, #mine) == mine and tonumber(string.sub(entry, #mine + 1)) < tonumber(ARGV[2]) then return 'pending' end
end
return call('HGET', LAST, ARGV[1]) or ''
