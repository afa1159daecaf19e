-- decide settles that a tick becomes a job, and which job came before it: whoever finishes
-- the tick does the same.
--
-- ARGV  1 entry, 2 name
-- Returns {the entry's value, "" if somebody has finished it; what is last now, "" if nothing}
local value = call('HGET', OUTBOX, ARGV[1])
local last = call('HGET', LAST, ARGV[2])
if not value then return {'', ''} end
if not string.find(value, ' push', 1, true) then
  value = value .. ' push' .. (last and ' ' .. last or '')
  call('HSET', OUTBOX, ARGV[1], value)
end
return {value, last or ''}
