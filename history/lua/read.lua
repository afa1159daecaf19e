-- read returns a part of a type's history.
--
-- KEYS  1 the base, see record.lua
-- ARGV  1 the type, 2 the letter of the steps, 3 seconds in a step, 4 steps in a chunk, 5 how many steps
-- Returns seconds of Unix time now, then step, sample, …: in no order.
local base, call = KEYS[1], redis.call
local now = tonumber(call('TIME')[1])
local last = math.floor(now / tonumber(ARGV[3]))
local first, chunk = last - tonumber(ARGV[5]) + 1, tonumber(ARGV[4])
local out = {string.format('%.0f', now)}
for c = math.floor(first / chunk), math.floor(last / chunk) do
  local all = call('HGETALL', base .. ':' .. ARGV[2] .. ':' .. string.format('%.0f', c) .. ':' .. ARGV[1])
  for i = 1, #all, 2 do
    local step = tonumber(all[i])
    if step >= first and step <= last then
      out[#out + 1], out[#out + 2] = all[i], all[i + 1]
    end
  end
end
return out
