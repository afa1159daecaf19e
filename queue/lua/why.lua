-- why reads what there is to say of why a job is where it is, beside what get
-- and stats say.
--
-- KEYS  see the prelude
-- ARGV  1 id, 2 so many entries of its list are looked at
-- Returns {} or {place, now (ms), lease, its end (ms, "" none), jobs ahead of it, 1 if that is exact: 2 about, 3 at least,
--       id and start (ms) of the job that has run longest ("" none), jobs that ended in the window before now, the window (ms),
--       fingerprint of a dead one ("" none), how many are dead of that, slots taken, jobs in a batch (0 none),
--       when those that wait for company go all the same (ms, "" none wait)}
local id, most, now = ARGV[1], tonumber(ARGV[2]), clock()
local rec = call('HGET', JOBS, id)
local at = place(id, rec)
if not at then return {} end
local _, p, _, _, _, e, w = parse(rec)

local ahead, exact, oldest, since, ended, window = 0, '1', '', '', 0, 0
local settings = call('HMGET', CONTROL, 'wstale', 'batched')
if at == 'W' and p then
  -- Those of more urgent lists go first, but for the slots kept for the others.
  for k = 1, p - 1 do ahead = ahead + call('LLEN', WAITING[k]) end
  if ahead > 0 or tonumber(settings[1] or 0) > 0 then exact = '2' end
  local list, found = WAITING[p], nil
  for first = 0, most - 1, 1000 do
    local ids = call('LRANGE', list, first, first + 999)
    for i, other in ipairs(ids) do
      if other == id then found = first + i - 1; break end
    end
    if found or #ids < 1000 then break end
  end
  if not found then exact = '3' end
  ahead = ahead + (found or math.min(call('LLEN', list), most))

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

if settings[2] then batch_begin() end
local used = settings[2] and batch_slots() or call('ZCARD', ACTIVE)
local print = at == 'd' and call('HGET', BURIED, id) or ''
local group = print ~= '' and call('HGET', GRAVES, print)
local held = call('HGET', LEASES, id) or ''
local ends = at == 'A' and call('ZSCORE', ACTIVE, id) or ''
return {at, int(now), held, ends, int(ahead), exact, oldest, since ~= '' and int(since) or '', int(ended), int(window),
  print, group and string.match(group, '^%d+') or '0', used, batch_size or 0, batch_size and gather and int(gather) or ''}
