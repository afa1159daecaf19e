-- Prelude of every script of the schedules.
--
-- KEYS (the same for every script; all under the hash tag of the installation, {prefix})
--   1 schedules           hash  name -> record "<version> <created ms> <updated ms> <request ID>\n<JSON>"
--   2 schedules:rev       the last version given
--   3 schedules:due       zset  name by its next tick, ms; those that are paused or have ended are not in it
--   4 schedules:outbox    hash  "<name> <tick ms>" -> "<type> <created ms>[ push[ <type> <job ID> <ms>]]": ticks
--                         that were taken and must become a job; after "push" that is decided, and what was last then
--   5 schedules:takeover  zset  the same, by when another process may finish it, ms
--   6 schedules:last      hash  name -> "<type> <job ID> <ms>" of the job pushed for the latest tick (or by hand), and when that was
--   7 schedules:history:<name>  list of what became of the last ticks, JSON, newest first
--   8 schedules:request:<ID>    answer to a request, kept a minute for its repetitions
local SCHEDULES, REVISION, DUE, OUTBOX, TAKEOVER, LAST, HISTORY, REQUEST =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]

local call = redis.call

local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format('%.0f', n) end

-- note writes a line of history, unless it is there already.
local function note(line)
  if line == '' or call('LINDEX', HISTORY, 0) == line then return end
  call('LPUSH', HISTORY, line)
  call('LTRIM', HISTORY, 0, 49)
end
