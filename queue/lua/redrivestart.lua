-- redrivestart begins a redrive; its steps follow.
--
-- KEYS  see the prelude
-- ARGV  1 its id, 2 canaries wanted, 3 interval (ms a job, "" no rate), 4 who asks, 5 spec as JSON,
--       6 how many may go on at once, 7 how many are remembered, 8 channel, 9 type
-- Returns 1, or 0 if too many go on already
local op, now = ARGV[1], clock()
if call('EXISTS', Canary.REDRIVE .. op) == 1 then return 1 end
if call('ZCARD', REDRIVING) >= tonumber(ARGV[6]) then return 0 end
call('HSET', Canary.REDRIVE .. op, 'state', ARGV[2] == '0' and 'running' or 'canary', 'spec', ARGV[5], 'by', ARGV[4], 'created', int(now),
  'updated', int(now), 'reason', '', 'count', '0', 'canary', ARGV[2], 'placed', '0', 'succeeded', '0', 'interval', ARGV[3],
  'free', int(now), 'cursor', '', 'ended', '0')
call('ZADD', REDRIVES, int(now), op)
call('ZADD', REDRIVING, int(now), op)
-- The oldest that have ended are forgotten.
local over = call('ZCARD', REDRIVES) - tonumber(ARGV[7])
for _, old in ipairs(over > 0 and call('ZRANGE', REDRIVES, 0, over + tonumber(ARGV[6])) or {}) do
  if over > 0 and not call('ZSCORE', REDRIVING, old) then
    call('ZREM', REDRIVES, old)
    call('DEL', Canary.REDRIVE .. old)
    over = over - 1
  end
end
redrive_due()
call('PUBLISH', ARGV[8], ARGV[9])
return 1
