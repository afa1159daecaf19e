-- hold opens or closes a type's outage hold by hand.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 "1" to open it, "0" to close it, 2 why, 3 for how long (ms, "" until it is closed by hand)
-- Returns the state as outage.lua has it, "" if all is well
local known = call('GET', REQUEST)
if known then return known end

local now = clock()
local c = call('HMGET', CONTROL, 'outage', 'held')
Outage.begin(c[1], c[2] or '{"w":""}')
if ARGV[1] == '1' then
  if not down.s then Outage.open(ARGV[2], now) end
  -- A canary that is out is forgotten: what it finds costs nothing, and opens nothing.
  down.e, down.f, down.u, down.c, down.j = ARGV[2], 1, nil, nil, nil
  if ARGV[3] ~= '' then down.u = now + tonumber(ARGV[3]) end
  down_changed = true
elseif down.s then
  Outage.close(now)
  down_changed = true
elseif down.r then
  Outage.over()
  down_changed = true
end
Outage.finish()
return answered(Outage.state())
