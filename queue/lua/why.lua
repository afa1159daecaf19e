-- why reads what there is to say of why a job is where it is, beside what get
-- and stats say.
--
-- KEYS  see the prelude
-- ARGV  1 id, 2 so many entries of its list are looked at
-- Returns {} or {place, now (ms), lease, its end (ms, "" none), jobs ahead of it, 1 if that is exact: 2 about, 3 at least,
--       id and start (ms) of the job that has run longest ("" none), jobs that ended in the window before now, the window (ms),
--       fingerprint of a dead one ("" none), how many are dead of that, slots taken, jobs in a batch (0 none),
--       when those that wait for company go all the same (ms, "" none wait),
--       then of a waiting job's group (all "" if it has none): how many run, how many may (0 any number), when its rate
--       lets the next start (ms, "" now), about how many groups are served before it}
-- Of a job of a group, those ahead are of its group, too.
local id, most, now = ARGV[1], tonumber(ARGV[2]), clock()
local rec = call('HGET', JOBS, id)
local at = place(id, rec)
if not at then return {} end
local _, p, _, _, _, e, w = parse(rec)

local ahead, exact, oldest, since, ended, window = 0, '1', '', '', 0, 0
local settings = call('HMGET', CONTROL, 'wstale', 'batched', 'grouped', 'groups')
local mine, most_of, dry, before = '', '', '', ''

-- index returns where in a list an entry is, from 0; nil if it is not among the first.
local function index(list, entry)
  for first = 0, most - 1, 1000 do
    local entries = call('LRANGE', list, first, first + 999)
    for i, other in ipairs(entries) do
      if other == entry then return first + i - 1 end
    end
    if #entries < 1000 then return nil end
  end
end

-- in_group counts the jobs of its group, and the groups, that go before a waiting job; it returns its list.
local function in_group(g)
  local limits, now_us = Group.limits(settings[4]), select(2, clock())
  mine, most_of = call('HGET', Group.key(':active'), g) or '0', int(limits.most)
  if limits.rate then
    local tat = Rate.tat(call('ZSCORE', Group.key(':tat'), g), now_us)
    if Rate.room(limits.rate, tat, now_us) < 1 then dry = int(Rate.next(limits.rate, tat)) end
  end
  before = 0
  for k = 1, p - 1 do
    local own = call('LLEN', Group.list(k, g))
    ahead = ahead + own
    before = before + call('LLEN', Group.ring(k)) + call('EXISTS', WAITING[k])
    if own > 0 and not call('ZSCORE', Group.key(':parked'), k .. ' ' .. g) then before = before - 1 end
  end
  local turn = index(Group.ring(p), g) or call('LLEN', Group.ring(p)) -- parked: it comes back behind the others
  before = before + turn
  -- Those without a group are one, too: gap says how many turns before theirs.
  if call('EXISTS', WAITING[p]) == 1 and tonumber(call('HGET', CONTROL, 'gap' .. p) or 0) <= turn then before = before + 1 end
  before = int(before)
  if ahead > 0 or call('HEXISTS', Group.key(':stale'), g) == 1 then exact = '2' end
  return Group.list(p, g)
end

if at == 'W' and p then
  local g, list = group_of(rec), WAITING[p]
  local others = 0
  if g then
    list = in_group(g)
  else
    -- Those of more urgent lists go first, but for the slots kept for the others.
    local grouped = tonumber(settings[3] or 0) > 0
    for k = 1, p - 1 do
      ahead = ahead + call('LLEN', WAITING[k]) + (grouped and tonumber(call('HGET', CONTROL, 'grouped' .. k) or 0) or 0)
    end
    if ahead > 0 or tonumber(settings[1] or 0) > 0 then exact = '2' end
    if grouped then others = call('LLEN', Group.ring(p)) end
  end
  local found = index(list, id)
  if not found then exact = '3' end
  ahead = ahead + (found or math.min(call('LLEN', list), most))
  if others > 0 then
    -- The groups whose turn comes before the next without one; those between the others nobody counts.
    ahead = ahead + math.min(tonumber(call('HGET', CONTROL, 'gap' .. p) or 0), others)
    if found ~= 0 then exact = '3' end
  end

  -- Who has run longest, among the thousand whose leases end first.
  local running = call('ZRANGE', ACTIVE, 0, 999)
  if #running > 0 then
    for i, held in ipairs(call('HMGET', LEASES, unpack(running))) do
      local started = tonumber(string.match(held or '', '^%S+ (%d+)') or '')
      if started and (since == '' or started < since) then oldest, since = running[i], started end
    end
  end

  -- How fast they end: counted as long as this one has been waiting, since the type had work
  -- all that time, for a minute at most.
  local from = math.max(tonumber(e) + tonumber(w), now - 60000)
  local entries = call('LRANGE', FINISHED, -200, -1)
  for i = #entries, 1, -1 do
    local ms = tonumber(string.match(entries[i], ' (%d+)$'))
    if ms < from then break end
    ended = ended + 1
    if i == 1 and #entries == 200 then from = ms end -- there may be more before
  end
  window = now - from
end

if settings[2] then Batch.begin() end
local used = settings[2] and Batch.slots() or call('ZCARD', ACTIVE)
local print = at == 'd' and call('HGET', Graves.BURIED, id) or ''
local group = print ~= '' and call('HGET', Graves.GRAVES, print)
local held = call('HGET', LEASES, id) or ''
local ends = at == 'A' and call('ZSCORE', ACTIVE, id) or ''
return {at, int(now), held, ends, int(ahead), exact, oldest, since ~= '' and int(since) or '', int(ended), int(window),
  print, group and string.match(group, '^%d+') or '0', used, batch_size or 0, batch_size and gather and int(gather) or '',
  mine, most_of, dry, before}
