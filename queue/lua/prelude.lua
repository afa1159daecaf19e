-- Prelude of every script of the queue: the keys by name, the clock, and how a
-- job's record is read and written.
--
-- KEYS (the same for every script; all under one hash tag, see keys.go)
--   1 jobs       hash  id -> record
--   2 blobs      hash  id -> data too large to be copied at every step
--   3 results    hash  id -> what a succeeded handler answered
--   4 attempts   hash  id -> history, a JSON object a line, oldest first
--   5 leases     hash  id -> "token started consumer[ g<group>][ h<ms>][ c]"; g: whose
--                jobs it counts among; h: its handler holds it, and each call
--                extends it by so long; c: cancel requested
--   6 active     zset  id by the end of its lease, ms
--   7 scheduled  zset  id by when it is due, ms
--   8 dead       zset  id by when it died, ms
--   9 finished   list  "id ms" of succeeded and cancelled jobs, oldest first
--  10 control    hash  the type's settings and the queue's few counters
--  11-15         list  ids waiting, by priority, critical first
--  16 reports    hash  id -> what the last attempt that reported anything said:
--                see report.lua
--                graves.lua says what buried and graves hold, which few types have
--  batches       hash  of jobs that go together: see batch.lua
--   unique, unique:ends: named after control, see unique.lua
--                endings, outbox, troubles: see after.lua
--  17 request    what the last request of this kind answered, so that a
--                repeated one gets the same answer (push, exchange)
-- Jobs of a group wait in lists of their own: see groups.lua for their keys.
--
-- A record is "SPB failed lost enqueued wait[ started finished status]\n
-- options\ndata": S the state (q queued, s succeeded, c cancelled, d dead), P
-- the number of its waiting list (1-5), B "b" if the data is in blobs, else
-- "-"; failed and lost count attempts; times are ms; wait is how long after
-- enqueued it was due. Queued jobs are scheduled or active if that set has
-- them, else waiting: no step copies a record only to move a job.
--
-- control's rare says that the type has, or once had, any of the fields batched, outage, held, adaptive, expiring,
-- outbox, redrive, canaries, rate, groups: whoever sets one of these sets it. Exchanges of other types spare themselves the look.
--
-- Taking a job out of the middle of a list would cost its whole length, so its
-- entry stays behind and is skipped when it comes up: an entry of a waiting
-- list counts only if that job is waiting at that priority, one of finished
-- only if that job finished at that time. control keeps the numbers of such
-- left-over entries (wstale, fstale), so that counts are exact.
local JOBS, BLOBS, RESULTS, ATTEMPTS, LEASES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ACTIVE, SCHEDULED, DEAD, FINISHED, CONTROL = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local WAITING = {KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]}
local REPORTS, REQUEST = KEYS[16], KEYS[17]
local BASE = string.sub(CONTROL, 1, -8) -- what the names of the keys that few types have begin with: "{prefix:type}:"

local call = redis.call

-- lazy returns a table that make fills when it is first looked into. A script
-- makes its functions anew at each call: those of few types are made for these only.
local LAZY = {}
function LAZY.__index(t, k)
  local make = t[1]
  setmetatable(t, nil)
  t[1] = nil
  make(t)
  return t[k]
end
local function lazy(make) return setmetatable({make}, LAZY) end

-- clock returns the time in ms, and the same in µs.
local function clock()
  local t = call('TIME')
  local s, us = tonumber(t[1]), tonumber(t[2])
  return s * 1000 + math.floor(us / 1000), s * 1000000 + us
end

-- int writes a whole number. Most are written many times in a call, and a float's format is dear.
-- By its negative, because the in-process engine would fill an array up to a positive key.
local ints = {}
local function int(n)
  local s = ints[-n]
  if not s then
    s = string.format('%d', n)
    ints[-n] = s
  end
  return s
end

-- parse returns state, list number, blob flag, failed, lost, enqueued, wait,
-- and the tail of the record from its first newline on; nothing of a damaged one.
local function parse(rec)
  local s, p, b, f, l, e, w = string.match(rec, '^(%l)([1-5])(%S) (%d+) (%d+) (%d+) (%d+)')
  local tail = string.find(rec, '\n', 1, true)
  if not s or not tail then return nil end
  return s, tonumber(p), b, tonumber(f), tonumber(l), e, w, string.sub(rec, tail)
end

-- tail_of returns a record from its first newline on; nothing of a damaged one.
local function tail_of(rec)
  return string.sub(rec, string.find(rec, '\n', 1, true) or #rec + 1)
end

local function record(s, p, b, failed, lost, enqueued, wait, ending, tail)
  return s .. p .. b .. ' ' .. int(failed) .. ' ' .. int(lost) .. ' ' .. enqueued .. ' ' .. wait .. ending .. tail
end

-- doubt returns a record's tail with or without the mark that nobody knows what
-- became of the job's last attempt: a member "?" that comes first in its options.
local function doubt(tail, unsure)
  if not unsure and string.byte(tail, 2) == 10 then return tail end -- no options: most jobs
  local marked = string.sub(tail, 1, 6) == '\n{"?":'
  if marked == unsure then return tail end
  if not marked then
    if string.sub(tail, 2, 2) == '\n' then return '\n{"?":1}' .. string.sub(tail, 2) end
    return '\n{"?":1,' .. string.sub(tail, 3)
  end
  if string.sub(tail, 1, 8) == '\n{"?":1}' then return '\n' .. string.sub(tail, 9) end
  return '\n{' .. string.sub(tail, 9)
end

-- finished_at returns when a finished or dead record ended, as a string.
local function finished_at(rec)
  return string.match(rec, '^%S+ %d+ %d+ %d+ %d+ %d+ (%d+)')
end

-- place says where a job is: its state's letter for finished ones, and
-- S scheduled, A active, W waiting for queued ones; nil if there is none.
local function place(id, rec)
  if not rec then return nil end
  local s = string.sub(rec, 1, 1)
  if s ~= 'q' then return s end
  if call('ZSCORE', ACTIVE, id) then return 'A' end
  if call('ZSCORE', SCHEDULED, id) then return 'S' end
  return 'W'
end

-- forget deletes all that is known of the jobs of a (non-empty) list of ids.
local function forget(ids)
  local more = {} -- many types have none of these
  for _, key in ipairs({BLOBS, RESULTS, ATTEMPTS, REPORTS}) do
    if call('EXISTS', key) == 1 then more[#more + 1] = key end
  end
  for i = 1, #ids, 1000 do
    local last = math.min(i + 999, #ids)
    call('HDEL', JOBS, unpack(ids, i, last))
    for _, key in ipairs(more) do call('HDEL', key, unpack(ids, i, last)) end
  end
end

-- remember appends a line to a job's history and keeps the last 25.
local function remember(id, line)
  local old = call('HGET', ATTEMPTS, id)
  if not old then
    call('HSET', ATTEMPTS, id, line)
    return
  end
  local all = old .. '\n' .. line
  local _, lines = string.gsub(all, '\n', '\n')
  while lines >= 25 do
    all = string.sub(all, string.find(all, '\n', 1, true) + 1)
    lines = lines - 1
  end
  call('HSET', ATTEMPTS, id, all)
end

-- lower_due notes that a job is due at ms: the scheduled set is not looked at
-- before control's due. Returns whether that became earlier.
local function lower_due(ms)
  local due = call('HGET', CONTROL, 'due')
  if due and due ~= '' and tonumber(due) <= ms then return false end
  call('HSET', CONTROL, 'due', int(ms))
  return true
end

-- cancelling says of a lease whether its job was called off.
local function cancelling(held)
  return held and string.find(held, '^%S+ %d+ %S+.* c$') ~= nil
end

-- handed returns of a lease that a handler holds how long each of its calls
-- extends it, in ms; nil if a dispatcher holds it.
local function handed(held)
  local ms = held and string.match(held, '^%S+ %d+ %S+.- h(%d+)')
  return ms and tonumber(ms)
end

-- answered keeps what a request was answered for 30 s, in case it is repeated.
local function answered(answer)
  call('SET', REQUEST, answer, 'PX', 30000)
  return answer
end

-- cancel_now turns a queued record into a cancelled, finished job.
local function cancel_now(id, rec, started, now)
  local _, p, b, failed, lost, e, w, tail = parse(rec)
  call('HSET', JOBS, id, record('c', p, b, failed, lost, e, w, ' ' .. started .. ' ' .. int(now) .. ' 0', tail))
  call('RPUSH', FINISHED, id .. ' ' .. int(now))
end

-- drop_finished takes n entries from the head of finished and forgets those
-- jobs that are still finished as they say. Returns how many it forgot.
local function drop_finished(n)
  local entries = call('LPOP', FINISHED, n)
  if not entries then return 0 end
  local stale = tonumber(call('HGET', CONTROL, 'fstale') or 0)
  local ids, seen = {}, {}
  for i, entry in ipairs(entries) do
    local gap = string.find(entry, ' ', 1, true)
    local id = string.sub(entry, 1, gap - 1)
    if stale > 0 then
      local rec = call('HGET', JOBS, id)
      local s = rec and string.sub(rec, 1, 1)
      -- A job that finished twice within a millisecond has two such entries.
      if not seen[id] and (s == 's' or s == 'c') and finished_at(rec) == string.sub(entry, gap + 1) then
        seen[id] = true
        ids[#ids + 1] = id
      else
        stale = stale - 1
        call('HINCRBY', CONTROL, 'fstale', -1)
      end
    else
      ids[#ids + 1] = id
    end
  end
  if #ids > 0 then forget(ids) end
  call('HINCRBY', CONTROL, 'fpopped', #entries)
  return #ids
end

-- retain applies the type's retention, at most a bounded number at a time.
local function retain(now, keep, age, most)
  local left = most
  while left > 0 do
    local over = call('LLEN', FINISHED) - keep
    if over > 0 then over = over - tonumber(call('HGET', CONTROL, 'fstale') or 0) end
    if over <= 0 then break end
    local n = math.min(over, left)
    drop_finished(n) -- fewer jobs than entries, if some were left over
    left = left - n
  end
  local head = call('LINDEX', FINISHED, 0)
  if head and tonumber(string.match(head, ' (%d+)$')) <= now - age then
    local n = 0
    for _, entry in ipairs(call('LRANGE', FINISHED, 0, most - 1)) do
      if tonumber(string.match(entry, ' (%d+)$')) > now - age then break end
      n = n + 1
    end
    drop_finished(n)
  end
end
