-- record adds samples to the history of types, tells of the dispatcher that
-- brings them, and says whether it is its turn to look at the queues.
--
-- KEYS  1 the base of all keys here; they share its hash tag
-- ARGV  1 an ID: the same call repeated changes nothing
--       2 when, in seconds of Unix time ('' now)
--       3 the dispatcher's name, 4 what it tells of itself ('' nothing, '-' that it goes)
--       5 how long, in ms, nobody else looks at the queues if this one does (0: it does not)
--       then pairs: a type, a sample: see sample.go
-- Returns 1 if it is to look at the queues, else 0.
--
-- base:m:<chunk>:<type>  hash, minute → sample; kept three hours
-- base:t:<chunk>:<type>  the same in steps of ten minutes; kept 37 hours
-- base:h:<chunk>:<type>  the same in hours; kept twelve days
-- base:sparks            hash, type → "minute succeeded:failed …", the last 30 minutes with any, oldest first
-- base:dispatchers       hash, name → seconds of Unix time, and what it tells
-- base:looking           who looked last, for a while
local base, call = KEYS[1], redis.call
local now = tonumber(ARGV[2]) or tonumber(call('TIME')[1])
local request = base .. ':request:' .. ARGV[1]
local before = call('GET', request)
if before then return tonumber(before) end

-- letter, seconds in a step, steps in a chunk, seconds to keep a chunk: its own length, and what is shown of it.
local TIERS = {{'m', 60, 60, 3 * 3600}, {'t', 600, 72, 37 * 3600}, {'h', 3600, 96, 12 * 86400}}
local SPARK = 30

local function merge(old, new)
  local sums, order = {}, {}
  for name, n in string.gmatch(old .. ' ' .. new, '(%a%d*)=(%d+)') do
    n = tonumber(n)
    local sum = sums[name]
    if not sum then
      sums[name], order[#order + 1] = n, name
    elseif string.find(name, '%u') then
      sums[name] = math.max(sum, n)
    else
      sums[name] = sum + n
    end
  end
  for i, name in ipairs(order) do order[i] = name .. '=' .. string.format('%.0f', sums[name]) end
  return table.concat(order, ' ')
end

local function spark(typ, sample)
  local ok = tonumber(string.match(' ' .. sample, ' s=(%d+)') or 0)
  local bad = tonumber(string.match(' ' .. sample, ' f=(%d+)') or 0) + tonumber(string.match(' ' .. sample, ' d=(%d+)') or 0)
  if ok + bad == 0 then return end
  local minute, points = math.floor(now / 60), {}
  for m, s, f in string.gmatch(call('HGET', base .. ':sparks', typ) or '', '(%d+) (%d+):(%d+)') do
    m = tonumber(m)
    if m == minute then
      ok, bad = ok + tonumber(s), bad + tonumber(f)
    elseif m > minute - SPARK then
      points[#points + 1] = string.format('%.0f %s:%s', m, s, f)
    end
  end
  points[#points + 1] = string.format('%.0f %.0f:%.0f', minute, ok, bad)
  call('HSET', base .. ':sparks', typ, table.concat(points, ' '))
end

for i = 6, #ARGV, 2 do
  local typ, sample = ARGV[i], ARGV[i + 1]
  for _, tier in ipairs(TIERS) do
    local step = math.floor(now / tier[2])
    local key = base .. ':' .. tier[1] .. ':' .. string.format('%.0f', math.floor(step / tier[3])) .. ':' .. typ
    local field = string.format('%.0f', step)
    local old = call('HGET', key, field)
    call('HSET', key, field, old and merge(old, sample) or sample)
    if not old then call('EXPIRE', key, tier[4]) end
  end
  spark(typ, sample)
end

if ARGV[4] == '-' then
  call('HDEL', base .. ':dispatchers', ARGV[3])
elseif ARGV[4] ~= '' then
  call('HSET', base .. ':dispatchers', ARGV[3], string.format('%.0f ', now) .. ARGV[4])
end
local turn = 0
if tonumber(ARGV[5]) > 0 and call('SET', base .. ':looking', ARGV[3], 'NX', 'PX', ARGV[5]) then turn = 1 end
call('SET', request, turn, 'PX', 30000)
return turn
