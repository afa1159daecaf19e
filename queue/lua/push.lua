-- push adds jobs, or replaces those of the same ID that are not running.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 channel to wake lanes on, 2 type, 3 how long to remember the answer (ms),
--       4 the time between two wakes while jobs wait (ms), 5 a note to remember with the answer ("" none),
--       then six a job: id, "1" if the id is freshly made (nothing to look up) or "0", and
--       behind it an "e" if it expires, and what Unique.push takes if it has a unique key; list number,
--       when ("" now, "@ms" at, "+ms" after), options\ndata, blob ("" if the data is inline)
-- Returns a string "now answer answer …", an answer a job:
--       n<ms> new, r<ms> replaced, each with its wait in ms, and ":id" if it took another's place; a: active,
--       nothing changed; x or i: another holds its unique key, see Unique.push. With a note, after a newline, that of the request that was first of its key: only that one did anything
local known = call('GET', REQUEST)
if known then return known end

local now = clock()
local enqueued = int(now)
local out = {enqueued}
local fields, blobs, lists = {}, {}, {} -- lists by their numbers, as needed
local later -- jobs of groups, in the order they came: a table a list
local earliest
local wake = false
local expires = false
local late -- a repeat that comes when the answer is no longer remembered: the fresh jobs are there

local function flush()
  if #fields > 0 then call('HSET', JOBS, unpack(fields)); fields = {} end
  if #blobs > 0 then call('HSET', BLOBS, unpack(blobs)); blobs = {} end
end

for i = 6, #ARGV, 6 do
  local id, fresh, p, when, body, blob = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local wait = 0
  if when ~= '' then
    wait = tonumber(string.sub(when, 2))
    if string.sub(when, 1, 1) == '@' then wait = wait - now end
    if wait < 0 then wait = 0 end
  end
  local g = string.byte(body, 1) == 123 and Group.among(body, 1) or nil -- {
  local answer, listed, as, take = 'n', false, '', nil
  local unique = #fresh > 1 and string.sub(fresh, 2)
  if unique then
    fresh = string.sub(fresh, 1, 1)
    if string.sub(unique, 1, 1) == 'e' then
      expires = true
      unique = string.sub(unique, 2)
    end
    if unique == '' then unique = nil end
  end
  if fresh == '1' and late == nil then late = call('HEXISTS', JOBS, id) == 1 end
  if unique then
    flush()
    local refused, under
    refused, under, wait, take = Unique.push(unique, id, fresh == '1', wait, now)
    if refused then
      answer = refused
    elseif under ~= id then
      id, fresh, as = under, '0', ':' .. under
    end
  end
  if answer == 'n' and (fresh ~= '1' or late) then
    flush()
    local rec = call('HGET', JOBS, id)
    local at = place(id, rec)
    if at == 'A' then
      answer = 'a'
    elseif at then
      answer = 'r'
      local was = tonumber(string.sub(rec, 2, 2))
      Unique.release(id, tail_of(rec))
      if at == 'W' or at == 'S' then
        local _, _, _, failed, _, e, _, tail = parse(rec)
        if tail then After.ended(id, 'r', e, failed, tail, now, '') end
      end
      if at == 'S' then
        call('ZREM', SCHEDULED, id)
      elseif at == 'd' then
        call('ZREM', DEAD, id)
        Graves.left({id})
      elseif at ~= 'W' then
        call('HINCRBY', CONTROL, 'fstale', 1)
      elseif wait == 0 and was == p and group_of(rec) == g then
        listed = true -- it keeps its place
      else
        left_over(rec)
      end
      call('HDEL', RESULTS, id)
      call('HDEL', ATTEMPTS, id)
      call('HDEL', REPORTS, id)
      if blob == '' then call('HDEL', BLOBS, id) end
    end
  end
  if answer == 'n' or answer == 'r' then
    if take then Unique.take(take.key, id, now, take.since, take.window) end
    fields[#fields + 1] = id
    fields[#fields + 1] = record('q', p, blob == '' and '-' or 'b', 0, 0, enqueued, int(wait), '\n', body)
    if blob ~= '' then
      blobs[#blobs + 1] = id
      blobs[#blobs + 1] = blob
    end
    if wait > 0 then
      call('ZADD', SCHEDULED, int(now + wait), id)
      if not earliest or now + wait < earliest then earliest = now + wait end
    elseif not listed and g then
      local key = p .. g
      later = later or {}
      if not later[key] then
        later[key] = {p = p, g = g}
        later[#later + 1] = later[key]
      end
      table.insert(later[key], id)
    elseif not listed then
      local list = lists[p]
      if not list then
        list = {}
        lists[p] = list
      end
      list[#list + 1] = id
    end
    answer = answer .. int(wait) .. as
  end
  out[#out + 1] = answer
end
flush()

local behind = false -- there were jobs of a group waiting before
for _, ids in ipairs(later or {}) do
  if Group.add(ids.g, ids.p, ids) then wake = true else behind = true end
end
if expires then call('HSET', CONTROL, 'expiring', '1', 'rare', '1') end
return pushed(lists, wake, behind, earliest, out, now)
