-- list reads a page of the jobs in one state.
--
-- KEYS  see the prelude
-- ARGV  1 place (W, S, A, d, D: dead, oldest first, f: succeeded and cancelled), 2 at most so many,
--       3 cursor ("" the first page), 4 letters of the states wanted of f ("s", "c", "sc"),
--       5 filter as JSON ("" all): see graves.lua; a tag of any jobs, else of dead ones. A page of it may have few jobs, or none, and not be the last,
--       6 "1" for whole jobs: then a page also ends at 4 MiB
-- Returns {next cursor ("" if this was the last page), then six a job: id, record, when due,
--       lease end or died (ms, "" none), lease, last line of its history (whole: all), blob (whole, else "")}
--
-- Waiting jobs come in the order they run in but for the kept slots; scheduled and active by time; dead and
-- finished newest first. A cursor keeps its place while jobs come and go: for sets it is the last
-- job's time and ID, for lists a position counted from the beginning of the list's life.
local kind, most, cursor, letters = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local filter, whole = ARGV[5] ~= '' and cjson.decode(ARGV[5]), ARGV[6] == '1'
local out, seen, size = {''}, {}, 0

local function add(id, rec, score)
  if seen[id] then return end
  seen[id] = true
  local history = call('HGET', ATTEMPTS, id)
  out[#out + 1] = id
  out[#out + 1] = rec
  out[#out + 1] = score
  out[#out + 1] = call('HGET', LEASES, id) or ''
  out[#out + 1] = history and (not whole and string.match(history, '^.*\n(.*)$') or history) or ''
  out[#out + 1] = whole and string.sub(rec, 3, 3) == 'b' and call('HGET', BLOBS, id) or ''
  if whole then size = size + #rec + #out[#out] + #out[#out - 1] end
end
-- before compares as sets order their members, byte by byte: Lua's < follows the server's locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function full() return #out > most * 6 or size >= 4194304 end

local function zset(key, command, rank)
  local start = 0
  if cursor ~= '' then
    local score, id = string.match(cursor, '^(%d+) (%S+)$')
    if call('ZSCORE', key, id) == score then
      start = call(rank, key, id) + 1
    else
      -- It is gone. Of those at the same time, maybe thousands, skip the ones before it.
      local rising = command == 'ZRANGE'
      start = call('ZCOUNT', key, rising and '-inf' or '(' .. score, rising and '(' .. score or '+inf')
      local last = start + call('ZCOUNT', key, score, score)
      while start < last do
        local middle = math.floor((start + last) / 2)
        if before(call(command, key, middle, middle)[1], id) == rising then start = middle + 1 else last = middle end
      end
    end
  end
  local budget, last = most + 1000, nil
  while true do
    local found = call(command, key, start, start + most, 'WITHSCORES')
    for i = 1, #found, 2 do
      if full() or budget == 0 then
        out[1] = last
        return
      end
      local rec = call('HGET', JOBS, found[i])
      if rec and (not filter or Graves.wanted(filter, found[i], found[i + 1])) then add(found[i], rec, found[i + 1]) end
      last = found[i + 1] .. ' ' .. found[i]
      budget = budget - 1
    end
    if #found <= 2 * most then return end
    start = start + most + 1
  end
end

-- Positions are absolute: the number of entries ever taken from the head, and the index. A
-- priority's jobs without a group come first, then group by group: a cursor "p position[ group]".
local function waiting()
  local p, pos, group = string.match(cursor, '^(%d) (%-?%d+) ?(.*)$')
  p, pos = tonumber(p or 1), tonumber(pos)
  if group == '' then group = nil end
  local budget = most + 1000
  local grouped = tonumber(call('HGET', CONTROL, 'grouped') or 0) > 0

  -- from adds what is in one list; it returns false when the page or what one call may look at is full.
  local function from(key, g, popped)
    local i = math.max((pos or popped) - popped, 0)
    pos = nil
    while true do
      local ids = call('LRANGE', key, i, i + most - 1)
      for _, id in ipairs(ids) do
        if full() or budget <= 0 then
          out[1] = p .. ' ' .. int(popped + i) .. (g and ' ' .. g or '')
          return false
        end
        local rec = call('HGET', JOBS, id)
        if stands(id, rec, p, g) and (not filter or Graves.wanted(filter, id)) then add(id, rec, '') end
        i = i + 1
        budget = budget - 1
      end
      if #ids < most then return true end
    end
  end

  while p <= 5 do
    if not group and not from(WAITING[p], nil, tonumber(call('HGET', CONTROL, 'popped' .. p) or 0)) then return end
    local after = group and '[' .. group or '-'
    while grouped do
      local g = call('ZRANGEBYLEX', Group.key(''), after, '+', 'LIMIT', 0, 1)[1]
      if not g then break end
      if g ~= group then pos = nil end
      if budget <= 0 then
        out[1] = p .. ' 0 ' .. g
        return
      end
      budget = budget - 1
      if not from(Group.list(p, g), g, tonumber(call('HGET', Group.key(':popped'), p .. ' ' .. g) or 0)) then return end
      after = '(' .. g
    end
    p, pos, group = p + 1, nil, nil
  end
end

local function finished()
  local popped = tonumber(call('HGET', CONTROL, 'fpopped') or 0)
  local i = call('LLEN', FINISHED) - 1
  if cursor ~= '' then i = math.min(i, tonumber(cursor) - popped) end
  local budget = most + 1000
  while i >= 0 do
    local entries = call('LRANGE', FINISHED, math.max(i - most + 1, 0), i)
    for k = #entries, 1, -1 do
      if full() or budget == 0 then
        out[1] = int(popped + i)
        return
      end
      local id, ms = string.match(entries[k], '^(%S+) (%d+)$')
      local rec = call('HGET', JOBS, id)
      if rec and string.find(letters, string.sub(rec, 1, 1), 1, true) and finished_at(rec) == ms
        and (not filter or Graves.wanted(filter, id)) then add(id, rec, '') end
      i = i - 1
      budget = budget - 1
    end
  end
end

if kind == 'S' then zset(SCHEDULED, 'ZRANGE', 'ZRANK')
elseif kind == 'A' then zset(ACTIVE, 'ZRANGE', 'ZRANK')
elseif kind == 'd' then zset(DEAD, 'ZREVRANGE', 'ZREVRANK')
elseif kind == 'D' then zset(DEAD, 'ZRANGE', 'ZRANK')
elseif kind == 'W' then waiting()
else finished() end
return out
