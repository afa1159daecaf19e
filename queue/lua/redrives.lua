-- redrives: operations that make dead jobs wait again, step by step, by
-- whichever dispatcher is told to. Put after canary.
--
-- redrives      zset  id of a redrive by when it began, ms: the last 100 or so
-- redriving     zset  id of one that goes on, by when its next step is due, ms
-- redrive:<id>  hash  state (canary, running, done, stopped), spec (JSON: what was asked for), by (who asked),
--                     created, updated (ms), reason (why it stopped), count (jobs made waiting), canary (how many are
--                     wanted), placed, succeeded (how many there are, and how many of those have succeeded),
--                     interval (ms a job, "" no rate), free (ms: when the rate lets the next job go), cursor (behind the
--                     dead job it has come to), ended (1 if none is behind it)
-- control's redrive is when the next step of any is due, ms; absent: none goes on
local REDRIVES, REDRIVING = BASE .. 'redrives', BASE .. 'redriving'

-- redrive_due notes when the next step is due. Returns that, in ms; nil: never.
local function redrive_due()
  local due = call('ZRANGE', REDRIVING, 0, 0, 'WITHSCORES')[2]
  if due then call('HSET', CONTROL, 'redrive', int(tonumber(due)), 'rare', '1') else call('HDEL', CONTROL, 'redrive') end
  local canaries = call('HLEN', Canary.CANARIES)
  if canaries > 0 then call('HSET', CONTROL, 'canaries', int(canaries), 'rare', '1') else call('HDEL', CONTROL, 'canaries') end
  return due and tonumber(due)
end

-- redrive_canaries lists the jobs a redrive waits for.
local function redrive_canaries(op)
  local ids, all = {}, call('HGETALL', Canary.CANARIES)
  for i = 1, #all, 2 do
    if all[i + 1] == op then ids[#ids + 1] = all[i] end
  end
  return ids
end

-- redrive_ends ends a redrive: done, or stopped with a reason.
local function redrive_ends(op, state, reason, now)
  call('HSET', Canary.REDRIVE .. op, 'state', state, 'reason', reason, 'updated', int(now))
  call('ZREM', REDRIVING, op)
  for _, id in ipairs(redrive_canaries(op)) do call('HDEL', Canary.CANARIES, id) end
end
