-- purge deletes jobs of one state, a bounded number a call. Running jobs are
-- never purged.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 place (W, S, d, f: succeeded and cancelled), 2 at most so many,
--       3 only those that died or finished up to then (ms; for d and f)
-- Returns "n m": how many jobs were deleted, and 1 if there may be more, else 0
local known = call('GET', REQUEST)
if known then return known end

local most = tonumber(ARGV[2])
local ids = {}
local more = false
if ARGV[1] == 'd' then
  ids = call('ZRANGEBYSCORE', DEAD, '-inf', ARGV[3], 'LIMIT', 0, most)
  if #ids > 0 then
    call('ZREM', DEAD, unpack(ids))
    Graves.left(ids)
  end
  more = #ids == most
elseif ARGV[1] == 'S' then
  ids = call('ZRANGE', SCHEDULED, 0, most - 1)
  if #ids > 0 then call('ZREM', SCHEDULED, unpack(ids)) end
  more = #ids == most
elseif ARGV[1] == 'f' then
  local n = 0
  for _, entry in ipairs(call('LRANGE', FINISHED, 0, most - 1)) do
    if tonumber(string.match(entry, ' (%d+)$')) > tonumber(ARGV[3]) then break end
    n = n + 1
  end
  if n == 0 then return '0 0' end
  return answered(int(drop_finished(n)) .. (n == most and ' 1' or ' 0'))
else
  local seen = {}
  local function take(popped, p, g)
    for i, rec in ipairs(call('HMGET', JOBS, unpack(popped))) do
      local id = popped[i]
      if not seen[id] and stands(id, rec, p, g) then
        seen[id] = true
        ids[#ids + 1] = id
      else
        passed_over(g)
      end
    end
  end
  for p = 5, 1, -1 do
    local popped = most > 0 and call('LPOP', WAITING[p], most)
    if popped then
      call('HINCRBY', CONTROL, 'popped' .. p, #popped)
      most = most - #popped
      take(popped, p)
    end
  end
  if most > 0 and tonumber(call('HGET', CONTROL, 'grouped') or 0) > 0 then most = Group.purge(most, take) end
  more = most == 0
end
if ARGV[1] ~= 'd' then Unique.forget(ids) end -- the dead hold no keys
if #ids > 0 then
  if ARGV[1] ~= 'd' then -- they end without having run
    local now = clock()
    for i, rec in ipairs(call('HMGET', JOBS, unpack(ids))) do
      local _, _, _, failed, _, e, _, tail = parse(rec or '')
      if tail then After.ended(ids[i], 'c', e, failed, tail, now, '') end
    end
  end
  forget(ids)
end
return answered(int(#ids) .. (more and ' 1' or ' 0'))
