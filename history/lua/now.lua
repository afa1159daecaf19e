-- now returns what is kept of the last half an hour for all types at once, and the dispatchers.
--
-- KEYS  1 the base, see record.lua
-- Returns seconds of Unix time now, {type, points, …}, {dispatcher, what it tells, …}.
local base, call = KEYS[1], redis.call
return {string.format('%.0f', tonumber(call('TIME')[1])), call('HGETALL', base .. ':sparks'), call('HGETALL', base .. ':dispatchers')}
