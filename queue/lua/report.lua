-- report takes what a handler says while its attempt runs. If it holds the
-- lease, which it does once it has answered 202, this extends it.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 id, 2 callback token, 3 progress as JSON ("" none), 4 log lines kept at most, then log lines
-- Returns a string "now end c": the time, the end of the lease, and 1 if the job is to be called off,
--       else 0; "" if the token is none of an attempt that still runs: nothing was changed
--
-- A report is a line with the callback token of its attempt, one with the
-- progress, "ms JSON" or nothing, and log lines "ms text". A later attempt's
-- first report replaces it.
local known = call('GET', REQUEST)
if known then return known end

local id, token, progress, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local held = call('HGET', LEASES, id)
if not held or redis.sha1hex('callback ' .. string.match(held, '^%S+')) ~= token then return '' end

local now = clock()
local ends
local lease = handed(held)
if lease then
  ends = int(now + lease)
  call('ZADD', ACTIVE, ends, id)
else
  ends = int(tonumber(call('ZSCORE', ACTIVE, id)))
end
if progress ~= '' or #ARGV > 4 then
  local old = call('HGET', REPORTS, id) or ''
  local by, shown, log = string.match(old, '^([^\n]*)\n([^\n]*)(.*)$')
  if by ~= token then shown, log = '', '' end
  if progress ~= '' then shown = int(now) .. ' ' .. progress end
  local lines = {}
  for line in string.gmatch(log, '[^\n]+') do lines[#lines + 1] = line end
  for i = 5, #ARGV do lines[#lines + 1] = int(now) .. ' ' .. ARGV[i] end
  local out = {token, shown}
  for i = math.max(#lines - most + 1, 1), #lines do out[#out + 1] = lines[i] end
  call('HSET', REPORTS, id, table.concat(out, '\n'))
end
return answered(int(now) .. ' ' .. ends .. (cancelling(held) and ' 1' or ' 0'))
