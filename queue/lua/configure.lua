-- configure copies a type's settings beside its queue, where the scripts see
-- them. An older version never replaces a newer one.
--
-- KEYS  see the prelude
-- ARGV  1 version, 2 limit, 3 paused (1/0), 4 finished jobs kept, 5 their age (ms), 6 channel, 7 type,
--       8 attempts before a job is dead, 9 and 10 shortest and longest backoff (ms), 11 jitter (1/0)
-- Returns 1 if the settings are now in force, 0 if newer ones already were
local version = tonumber(call('HGET', CONTROL, 'version') or -1)
if version > tonumber(ARGV[1]) then return 0 end
call('HSET', CONTROL, 'version', ARGV[1], 'limit', ARGV[2], 'paused', ARGV[3], 'keep', ARGV[4], 'age', ARGV[5],
  'attempts', ARGV[8], 'backoff', ARGV[9], 'longest', ARGV[10], 'jitter', ARGV[11])
if version < tonumber(ARGV[1]) then
  retain(clock(), tonumber(ARGV[4]), tonumber(ARGV[5]), 1000)
  call('PUBLISH', ARGV[6], ARGV[7])
end
return 1
