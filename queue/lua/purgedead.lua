-- purgedead deletes dead jobs that were chosen one by one.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  two a job: id, when it died (ms). One that is not dead since then is left alone
-- Returns how many were deleted
local known = call('GET', REQUEST)
if known then return known end

local ids = {}
for i = 1, #ARGV, 2 do
  if tonumber(call('ZSCORE', DEAD, ARGV[i]) or -1) == tonumber(ARGV[i + 1]) then ids[#ids + 1] = ARGV[i] end
end
if #ids > 0 then
  call('ZREM', DEAD, unpack(ids))
  Graves.left(ids)
  forget(ids)
end
return answered(int(#ids))
