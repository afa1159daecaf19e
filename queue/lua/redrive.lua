-- redrive makes a step of a redrive: it looks after its canaries, and makes as
-- many of the given jobs wait as it may now. Repeated, it is another step.
--
-- KEYS  see the prelude
-- ARGV  1 the redrive's id, 2 cursor behind all that were looked at, 3 "1" if no dead job is behind them,
--       4 channel, 5 type, then five a job, in the cursor's order: id, when it died (ms), cursor behind it,
--       options\ndata if they change ("" not), blob
-- Returns {state ("" none such), ms until its next step, ms until that of any of the type's redrives (-1 never)}
local op, now = ARGV[1], clock()
local key = Canary.REDRIVE .. op
local r = call('HMGET', key, 'state', 'canary', 'placed', 'succeeded', 'interval', 'free', 'ended')
local state, canary, placed, succeeded = r[1], tonumber(r[2]), tonumber(r[3]), tonumber(r[4])
local interval, free, ended = tonumber(r[5] or ''), tonumber(r[6]), r[7] == '1'

local function answer()
  local own, due = call('ZSCORE', REDRIVING, op), redrive_due()
  return {state or '', own and int(math.max(tonumber(own) - now, 0)) or '-1', due and int(math.max(due - now, 0)) or '-1'}
end
if state ~= 'canary' and state ~= 'running' then
  call('ZREM', REDRIVING, op)
  return answer()
end

-- What became of the canaries that have not succeeded.
if state == 'canary' then
  for _, id in ipairs(redrive_canaries(op)) do
    local at = place(id, call('HGET', JOBS, id))
    local reason
    if at == 'd' then reason = 'canary ' .. id .. ' died again: ' .. Graves.last_error(id) end
    if at == 'c' or not at then reason = 'canary ' .. id .. ' was cancelled or deleted before it had succeeded' end
    if reason then
      redrive_ends(op, 'stopped', reason, now)
      state = 'stopped'
      return answer()
    end
  end
end

-- again makes a dead job wait, with all its attempts before it.
local function again(id, body, blob)
  local rec = call('HGET', JOBS, id)
  local _, p, b, failed, lost, e, w, tail = parse(rec)
  if body ~= '' then
    b, tail = blob == '' and '-' or 'b', '\n' .. body
    if blob == '' then call('HDEL', BLOBS, id) else call('HSET', BLOBS, id, blob) end
  end
  call('HSET', JOBS, id, record('q', p, b, 0, 0, e, w, '', tail))
  Unique.again(id, tail)
  enqueue_waiting(id, p, tail)
end

-- A rate that was not made use of does not add up: a second's worth is made up for at most.
local room, burst = #ARGV, nil
if state == 'canary' then
  room = canary - placed
elseif interval then
  burst = math.max(math.ceil(1000 / interval), 1)
  free = math.max(free, now - (burst - 1) * interval)
  room = free <= now and math.floor((now - free) / interval) + 1 or 0
end
local moved, cursor, all = {}, nil, true
for i = 6, #ARGV, 5 do
  if #moved >= room then
    all = false
    break
  end
  local id, died = ARGV[i], tonumber(ARGV[i + 1])
  if tonumber(call('ZSCORE', DEAD, id) or -1) == died then
    call('ZREM', DEAD, id)
    again(id, ARGV[i + 3], ARGV[i + 4])
    if state == 'canary' then call('HSET', Canary.CANARIES, id, op) end
    moved[#moved + 1] = id
  end
  cursor = ARGV[i + 2]
end
if #moved > 0 then
  Graves.left(moved)
  call('PUBLISH', ARGV[4], ARGV[5])
end
if all then
  cursor = ARGV[2]
  ended = ended or ARGV[3] == '1'
end
call('HINCRBY', key, 'count', #moved)
if cursor then call('HSET', key, 'cursor', cursor) end

local due = now
if state == 'canary' then
  placed = placed + #moved
  if succeeded == placed and (placed >= canary or ended) then
    state, free = 'running', now
  elseif placed >= canary or ended then
    due = now + 10000 -- unless a canary ends before, which makes it due
  end
elseif interval and room == 0 then
  due = free
elseif interval and #moved > 0 then
  free = free + #moved * interval
  due = math.max(free, now + math.min(1000, interval * burst))
end
call('HSET', key, 'state', state, 'placed', int(placed), 'free', int(free), 'ended', ended and '1' or '0', 'updated', int(now))
if ended and state == 'running' then
  redrive_ends(op, 'done', '', now)
  state = 'done'
else
  call('ZADD', REDRIVING, int(due), op)
end
return answer()
