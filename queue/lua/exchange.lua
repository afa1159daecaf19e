-- exchange settles attempts, takes back expired leases, promotes due jobs and
-- leases waiting ones, all in one step.
--
-- KEYS  see the prelude; 17 holds this consumer's last answer
-- ARGV  1 request id, 2 consumer, 3 lease (ms), 4 jobs wanted (or batches: see batch.lua), 5 lost attempts before a job is dead,
--       then six a settlement: id, token, how it ended: "verdict delay status hold" (verdict d done, r retry, s snooze:
--       retry at no cost, x dead, l release, h hand the lease to the handler; followed by u: nobody knows what
--       became of it; delay in ms, for h the lease; hold: run one job at a time for so many ms, 0 no), line for the
--       history ("" none), result ("" none), what it tells of the target and how long it took (a letter of queue.Health,
--       ms; "" nothing). A first success keeps no line: its record says it all
-- Returns {now, limit, active, waiting, paused, next (ms until there is something to do, -1 never),
--       reaped, promoted, held (ms), lease left (ms), how long the rate lets no job start (ms), limit in force (see Adaptive.limit), state and event of outage.lua,
--       1 if the outbox has something due, 1 if a step of the type's redrives is due,
--       number stale, stale id…, then four a lease: id, token ("": request id, "-", which lease of the answer it is), record, blob}
-- Tokens begin with the request id, and are made of numbers then (see Batch.token): random, and known to a repeated request.
local request, consumer = ARGV[1], ARGV[2]
local lease, want, max_lost = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local FIRST, PER = 6, 6
local now, us = clock()
local now_text = int(now)
local settings = call('HMGET', CONTROL, 'limit', 'paused', 'keep', 'age', 'due', 'hold', 'turn', 'rare')
local limit, paused = tonumber(settings[1] or 0), settings[2] == '1'
local keep, age = tonumber(settings[3] or 1000), tonumber(settings[4] or 86400000)
local due, hold, turn = settings[5], tonumber(settings[6] or 0), tonumber(settings[7] or 0)
-- What follows few types have: see rare in the prelude.
local batched, expiring, outbox, redrive, canaries, rate, tat, limits, watched
local expired = 0
if settings[8] then
  local r = call('HMGET', CONTROL, 'batched', 'outage', 'held', 'adaptive', 'expiring', 'outbox', 'redrive', 'canaries', 'rate', 'groups')
  batched, expiring, outbox, redrive, canaries = r[1], r[5], tonumber(r[6] or ''), tonumber(r[7] or ''), r[8]
  if batched then Batch.begin() end
  rate = r[9] and Rate.of(r[9])
  tat = rate and Rate.tat(call('HGET', CONTROL, 'tat'), us)
  limits = r[10] and Group.limits(r[10])
  if r[2] or r[3] or r[4] then
    Outage.begin(r[2], r[3])
    Adaptive.begin(r[4], limit, batched)
  end
  watched = outage or adaptive
end
local step = false -- of the redrives: this consumer is to make the next

local stale, taken = {}, {}
local reaped, promoted = 0, 0
local cut = false -- left-over entries and expired jobs used up what one call may look at
local looked = false -- for jobs to claim

-- A repeated request settles nothing twice and gets the jobs it got before.
local repeated = false
local last = call('GET', REQUEST)
if last and string.sub(last, 1, #request + 1) == request .. '\n' then
  local stales, takens = string.match(last, '^[^\n]*\n([^\n]*)\n(.*)$')
  repeated = true
  for s in string.gmatch(stales, '%S+') do stale[#stale + 1] = s end
  for t in string.gmatch(takens, '%S+') do taken[#taken + 1] = t end
end

-- tell takes note of what a settlement, that begins at ARGV[at], tells of the target; see Outage.tell.
-- The jobs of a batch tell of one delivery: the first speaks for all.
local deliveries = {}
local function tell(at, started, pause)
  local class, took = string.match(ARGV[at + 5], '^(%l?)(%d*)$')
  local delivery = Outage.delivery(ARGV[at + 1])
  local again = deliveries[delivery]
  if class ~= '' then deliveries[delivery] = true end
  started = tonumber(started)
  if class ~= '' and not again then Adaptive.tell(started, class, tonumber(took), ARGV[at + 3], limit, now) end
  return Outage.tell(delivery, again, started, class, ARGV[at + 3], pause, limit, now)
end

local function settle()
  local count = (#ARGV - FIRST + 1) / PER
  if count == 0 then return end
  local ids = {}
  for i = 1, count do ids[i] = ARGV[FIRST + (i - 1) * PER] end
  local leases, recs = call('HMGET', LEASES, unpack(ids)), call('HMGET', JOBS, unpack(ids))
  local ended_ids, jobs, results, finished, settled, hatched, freed = {}, {}, {}, {}, {}, {}, {}
  local tokens = {} -- of the leases that ended, if any may be of a batch
  local ordinary = not (batched or canaries)
  -- Most settlements are like the one before in how the attempt ended, and in when it began: read once.
  local how, verdict, unsure, delay, status, pause, rest, started, marks, ending, success
  local n = 0 -- of ended_ids
  for i = 1, count do
    local at = FIRST + (i - 1) * PER
    local id, token, held, rec = ids[i], ARGV[at + 1], leases[i], recs[i]
    if ARGV[at + 2] ~= how then
      how, ending = ARGV[at + 2], nil
      verdict, unsure, delay, status, pause = string.match(how, '^(%l)(u?) (%d+) (%d+) (%d+)$')
      unsure, delay, pause = unsure == 'u', tonumber(delay), tonumber(pause)
    end
    if not held or settled[id] or string.find(held, token, 1, true) ~= 1 or string.byte(held, #token + 1) ~= 32 then
      stale[#stale + 1] = id
    else
      local more = string.sub(held, #token + 2)
      if more ~= rest then
        rest, ending = more, nil
        started, marks = string.match(rest, '^(%d+) %S+(.*)$')
      end
      if not ending then
        ending = ' ' .. started .. ' ' .. now_text .. ' ' .. status
        success = ordinary and verdict == 'd' and not unsure and pause == 0 and marks == '' and 's%11 0%2' .. ending .. '\n\n'
      end
      local new, first = nil, 0
      if success and rec then new, first = string.gsub(rec, '^q([1-5]%S )0 0( %d+ %d+)\n\n', success, 1) end
      if first == 1 then
        -- The first attempt at a job without options has succeeded: what most settlements say. It is what
        -- the general case below would do, without taking the record apart.
        settled[id] = true
        n = n + 1
        ended_ids[n] = id
        if watched then tell(at, started, pause) end
        jobs[#jobs + 1] = id
        jobs[#jobs + 1] = new
        finished[#finished + 1] = id .. ' ' .. now_text
        if ARGV[at + 4] ~= '' then
          results[#results + 1] = id
          results[#results + 1] = ARGV[at + 4]
        end
      else
        local s, p, b, failed, lost, e, w, tail
        if rec then s, p, b, failed, lost, e, w, tail = parse(rec) end
        if not s then
          -- No record, or one damaged meanwhile, which is left for fsck to report.
          stale[#stale + 1] = id
          n = n + 1
          ended_ids[n] = id
          if batched then tokens[#tokens + 1] = token end
          if marks ~= '' then freed[#freed + 1] = Group.held(held) end
        elseif verdict == 'h' then
          -- Done twice it only extends, and a handler that has already concluded has ended the lease.
          settled[id] = true
          if watched then tell(at, started, pause) end
          local g = Group.held(held)
          call('ZADD', ACTIVE, int(now + delay), id)
          call('HSET', LEASES, id, string.match(held, '^%S+ %d+ %S+') .. (g and ' g' .. g or '') .. ' h' .. int(delay) .. (cancelling(held) and ' c' or ''))
        else
          settled[id] = true
          n = n + 1
          ended_ids[n] = id
          if batched then tokens[#tokens + 1] = token end
          if marks ~= '' then freed[#freed + 1] = Group.held(held) end
          local cancel = verdict ~= 'd' and cancelling(held)
          local line, verdict = ARGV[at + 3], verdict
          new = nil
          local free = watched and tell(at, started, pause)
          if cancel or (verdict ~= 'r' and verdict ~= 'x') then free = nil end
          if free then verdict = 'l' end
          if verdict == 'r' or verdict == 'x' or verdict == 'd' then failed = failed + 1 end
          local over
          local was = tail
          tail = doubt(tail, unsure)
          if verdict == 'd' or cancel then
            new = record(cancel and 'c' or 's', p, b, failed, lost, e, w, ending, tail)
            finished[#finished + 1] = id .. ' ' .. now_text
            ended(id, cancel and 'c' or 's', e, failed, tail, now, cancel and line or ARGV[at + 4])
            if canaries and not cancel then hatched[#hatched + 1] = id end
            if not cancel and ARGV[at + 4] ~= '' then
              results[#results + 1] = id
              results[#results + 1] = ARGV[at + 4]
            end
          elseif verdict == 'x' then
            new = record('d', p, b, failed, lost, e, w, ending, tail)
            call('ZADD', DEAD, now_text, id)
            Graves.bury(id, status, line ~= '' and cjson.decode(line).error or '', now)
            ended(id, 'd', e, failed, tail, now, line)
          elseif verdict == 'r' or verdict == 's' then
            local at_ms = now + delay
            over = expiring and Expiry.at(tail, e) <= at_ms
            if over then
              new = record('c', p, b, failed, lost, e, w, ending, tail)
              finished[#finished + 1] = id .. ' ' .. now_text
              ended(id, 'c', e, failed, tail, now, line)
            else
              new = record('q', p, b, failed, lost, e, w, '', tail)
              call('ZADD', SCHEDULED, int(at_ms), id)
              if not due or due == '' or tonumber(due) > at_ms then due = int(at_ms) end
            end
          else
            if free == 'canary' then
              enqueue_waiting(id, p, rec) -- so that the next is another: one bad job must not keep the hold open
            else
              enqueue_first(id, p, rec)
            end
            if tail ~= was then new = record('q', p, b, failed, lost, e, w, '', tail) end
          end
          if new then
            jobs[#jobs + 1] = id
            jobs[#jobs + 1] = new
          end
          if free then
            Outage.remember(id, line)
          elseif line ~= '' and (verdict ~= 'd' or failed > 1 or lost > 0) then
            remember(id, line)
          end
          if over then Expiry.note(id, failed + 1, now) end
          if pause > 0 and now + pause > hold then hold = now + pause end
        end
      end
    end
  end
  if n > 0 then
    call('ZREM', ACTIVE, unpack(ended_ids))
    call('HDEL', LEASES, unpack(ended_ids))
    if batched then Batch.left(tokens) end
    for _, g in ipairs(freed) do Group.ended(g) end
  end
  if #jobs > 0 then call('HSET', JOBS, unpack(jobs)) end
  if #results > 0 then call('HSET', RESULTS, unpack(results)) end
  if #finished > 0 then call('RPUSH', FINISHED, unpack(finished)) end
  if #hatched > 0 then Canary.succeeded(hatched, now) end
  if due ~= settings[5] then call('HSET', CONTROL, 'due', due) end
  if hold ~= tonumber(settings[6] or 0) then call('HSET', CONTROL, 'hold', int(hold)) end
end

-- reap takes back jobs whose lease ended: their dispatcher is gone, or the
-- handler that held it has fallen silent, which is a failed attempt. A bounded number.
local function reap()
  local ids = call('ZRANGEBYSCORE', ACTIVE, '-inf', now_text, 'LIMIT', 0, 100)
  for _, id in ipairs(ids) do
    local held = call('HGET', LEASES, id)
    local token, started, holder = string.match(held or '- 0 -', '^(%S+) (%d+) (%S+)')
    if watched then Outage.lost(token, now) end
    local rec = call('HGET', JOBS, id)
    call('ZREM', ACTIVE, id)
    call('HDEL', LEASES, id)
    if batched and held then Batch.left({string.match(held, '^%S+')}) end
    local lease_ms, g = handed(held), Group.held(held)
    -- A damaged record is left for fsck to report: it must not stop the others.
    local p, b, failed, lost, e, w, tail
    if rec then _, p, b, failed, lost, e, w, tail = parse(rec) end
    if p and lease_ms then
      local at_ms = Conclusion.fail(id, rec, held, now, 'accepted with 202, then silent for ' .. lease_ms / 1000 ..
        " s: the lease ended. If 202 means done at this endpoint, set the type's completion to sync", false, nil, true)
      if at_ms and (not due or due == '' or tonumber(due) > at_ms) then
        due = int(at_ms)
        call('HSET', CONTROL, 'due', due)
      end
    elseif p then
      lost = lost + 1
      tail = doubt(tail, true)
      local line = '{"n":' .. int(failed + 1) .. ',"started_at":' .. started ..
        ',"duration_ms":' .. int(now - tonumber(started)) .. ',"outcome":"lost"' ..
        ',"error":"its dispatcher vanished: the lease ended","dispatcher":' .. cjson.encode(holder) .. '}'
      remember(id, line)
      local ending = ' ' .. started .. ' ' .. int(now) .. ' 0'
      if cancelling(held) then
        call('HSET', JOBS, id, record('c', p, b, failed, lost, e, w, ending, tail))
        call('RPUSH', FINISHED, id .. ' ' .. int(now))
        ended(id, 'c', e, failed, tail, now, line)
      elseif lost >= max_lost then
        call('HSET', JOBS, id, record('d', p, b, failed, lost, e, w, ending, tail))
        call('ZADD', DEAD, int(now), id)
        Graves.bury(id, 0, 'its dispatcher vanished: the lease ended', now)
        ended(id, 'd', e, failed, tail, now, line)
      else
        call('HSET', JOBS, id, record('q', p, b, failed, lost, e, w, '', tail))
        enqueue_first(id, p, rec)
      end
    end
    if g and not (p and lease_ms) then Group.ended(g) end
  end
  reaped = #ids
end

-- promote moves due jobs to their lists: a bounded number, so that a million
-- due at once do not stop Redis, but more than can be taken in this call.
local function promote()
  local ids = call('ZRANGEBYSCORE', SCHEDULED, '-inf', now_text, 'LIMIT', 0, math.max(2 * want, 100))
  if #ids > 0 then
    local lists = {{}, {}, {}, {}, {}}
    for i, rec in ipairs(call('HMGET', JOBS, unpack(ids))) do
      local p = rec and tonumber(string.match(rec, '^%l([1-5])') or 0)
      local list = lists[p]
      local g = list and group_of(rec)
      if g then Group.add(g, p, {ids[i]}) elseif list then list[#list + 1] = ids[i] end
    end
    call('ZREM', SCHEDULED, unpack(ids))
    for p = 1, 5 do
      if #lists[p] > 0 then call('RPUSH', WAITING[p], unpack(lists[p])) end
    end
  end
  promoted = #ids
  due = call('ZRANGE', SCHEDULED, 0, 0, 'WITHSCORES')[2]
  due = due and int(tonumber(due)) or ''
  call('HSET', CONTROL, 'due', due)
end

-- lengths counts the entries of each waiting list, and of all.
local function lengths()
  local lens, total = {0, 0, 0, 0, 0}, 0
  local lists = call('EXISTS', unpack(WAITING)) -- often none or one
  for p = 1, 5 do
    if lists == 0 then break end
    lens[p] = call('LLEN', WAITING[p])
    if lens[p] > 0 then lists, total = lists - 1, total + lens[p] end
  end
  return lens, total
end

-- waiting_now counts the jobs that wait, and of these the entries of groups.
local function waiting_now()
  local counts = call('HMGET', CONTROL, 'wstale', 'grouped')
  local grouped, _, plain = tonumber(counts[2] or 0), lengths()
  return plain + grouped - tonumber(counts[1] or 0), grouped
end

-- first_end says when the first lease ends, in ms; nil if there is none.
local function first_end()
  return tonumber(call('ZRANGE', ACTIVE, 0, 0, 'WITHSCORES')[2])
end

-- shares says how many of n slots each list gets: the most urgent first, but
-- every eighth slot begins at one of the others in turn, so that none starves.
local function shares(lens, n)
  local get, filled, only = {0, 0, 0, 0, 0}, 0, 0
  for p = 1, 5 do
    if lens[p] > 0 then filled = filled + 1; only = p end
  end
  if filled <= 1 then
    if filled == 1 then get[only] = math.min(n, lens[only]) end
    return get
  end
  for _ = 1, n do
    local first = 1
    if turn % 8 == 7 then first = 2 + math.floor(turn / 8) % 4 end
    local found
    for i = 0, 4 do
      local p = (first - 1 + i) % 5 + 1
      if lens[p] - get[p] > 0 then found = p; break end
    end
    if not found then break end
    get[found] = get[found] + 1
    turn = turn + 1
  end
  return get
end

-- claim leases up to n waiting jobs. It returns how many are left waiting; nil if it has not counted them.
local function claim(n)
  looked = true
  local was, budget = turn, n + 1000
  local counts = call('HMGET', CONTROL, 'wstale', 'grouped')
  local wstale, grouped = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
  local lens, left
  if grouped == 0 then
    lens, left = lengths()
    if left == 0 then return -wstale end
  end
  local plain = wstale == 0 and not expiring and not batched -- each entry stands for a job that may start
  local scores, held = {}, {}
  local seen = {}
  local prefix, till, holder = request .. '-', int(now + lease), ' ' .. now_text .. ' ' .. consumer

  -- take leases the job that an entry of a list stands for; false if it stands for none, or for one that has expired.
  local function take(id, p, g, rec)
    if wstale > 0 or expiring then rec = rec or call('HGET', JOBS, id) end
    if wstale > 0 and (seen[id] or not stands(id, rec, p, g)) then
      wstale = wstale - 1
      passed_over(g)
      return false
    end
    seen[id] = true
    if expiring and rec and Expiry.expire(id, rec, now) then
      expired = expired + 1
      return false
    end
    local i = #taken + 1
    taken[i] = id
    scores[2 * i - 1], scores[2 * i] = till, id
    held[2 * i - 1], held[2 * i] = id, (batched and Batch.token(request, i) or prefix .. int(i)) .. holder .. (g and ' g' .. g or '')
    return true
  end

  if grouped > 0 then turn, budget = Turns.take(n, budget, turn, limits or {most = 0}, now, us, take) end
  while grouped == 0 do
    local get = shares(lens, math.min(n - #taken, budget))
    for p = 1, 5 do
      if get[p] > 0 then
        local ids = call('LPOP', WAITING[p], get[p])
        call('HINCRBY', CONTROL, 'popped' .. p, #ids)
        budget, left = budget - #ids, left - #ids
        if plain then
          local before = #taken
          for k, id in ipairs(ids) do
            local i = before + k
            taken[i] = id
            scores[2 * i - 1], scores[2 * i] = till, id
            held[2 * i - 1], held[2 * i] = id, prefix .. int(i) .. holder
          end
        else
          local recs = (wstale > 0 or expiring) and call('HMGET', JOBS, unpack(ids))
          for i, id in ipairs(ids) do take(id, p, nil, recs and recs[i]) end
        end
      end
    end
    if left == 0 or #taken >= n or budget <= 0 then break end
    lens, left = lengths()
  end
  cut = #taken < n and budget <= 0
  if #taken > 0 then
    call('ZADD', ACTIVE, unpack(scores))
    call('HSET', LEASES, unpack(held))
  end
  if turn ~= was then call('HSET', CONTROL, 'turn', turn % 32) end
  return left and left - wstale
end

local most = limit
local gathered -- when jobs that wait for company have waited long enough (ms)
local first, active, waiting, grouped
if not repeated then
  settle()
  first = first_end()
  if first and first <= now then
    reap()
    first = first_end()
  end
  if due and due ~= '' and tonumber(due) <= now then promote() end
  if canaries then redrive = tonumber(call('HGET', CONTROL, 'redrive') or '') end
  if redrive and redrive <= now then
    step, redrive = true, now + 5000 -- when another is told, should this one vanish
    call('HSET', CONTROL, 'redrive', int(redrive))
  end
  active = first and call('ZCARD', ACTIVE) or 0
  local used = batched and Batch.slots() or active
  most = hold > now and math.min(limit, 1) or limit
  if watched then most = Adaptive.limit(most, used, now) end
  local n = math.min(want, most - used)
  if rate then n = math.min(n, Rate.room(rate, tat, us)) end
  local free = n
  if batched then n = Batch.room(free, (waiting_now()), now) end
  if n > 0 and not paused then waiting, grouped = claim(n), 0 end
  if batched then
    Batch.trim(taken)
    local more
    gathered, more = Batch.taken(request, #taken, free, (waiting_now()), paused, now)
    cut = cut or more
    waiting = nil
  end
  if #taken > 0 then
    active = active + #taken
    first = math.min(first or now + lease, now + lease)
    if rate then -- a batch is one start
      tat = Rate.spent(rate, tat, batched and batch_size and math.ceil(#taken / batch_size) or #taken)
      call('HSET', CONTROL, 'tat', int(tat))
    end
  end
  if watched then
    if #taken > 0 then Outage.took(taken[1], batched and Batch.token(request, 1) or request .. '-1') end
    Outage.finish()
    Adaptive.finish()
  end
  if #taken > 0 or #ARGV >= FIRST then
    call('SET', REQUEST, request .. '\n' .. table.concat(stale, ' ') .. '\n' .. table.concat(taken, ' '), 'PX', int(4 * lease))
  end
  retain(now, keep, age, #ARGV + 100 + expired)
  if limits and limits.rate then Turns.forget(now) end
else
  first, active = first_end(), call('ZCARD', ACTIVE)
end
if not waiting then waiting, grouped = waiting_now() end

-- next: the first of a job due, a lease ending, a hold lifted, a canary's turn, a batch gathered, or now if the claim was cut short.
local next_at = due and due ~= '' and tonumber(due)
if first and (not next_at or first < next_at) then next_at = first end
if hold > now and waiting > 0 and (not next_at or hold < next_at) then next_at = hold end
local canary = watched and waiting > 0 and Outage.next(now)
if canary and (not next_at or canary < next_at) then next_at = canary end
if gathered and (not next_at or gathered < next_at) then next_at = gathered end
if redrive and (not next_at or redrive < next_at) then next_at = redrive end
-- For who wants a free slot filled: when the rate, or else a group's limit, lets the next job start.
local dry, idle = 0, want > 0 and (batched and Batch.slots() or active) < most
if rate and waiting > 0 and not paused and Rate.room(rate, tat, us) < 1 then
  local at = Rate.next(rate, tat)
  dry = math.max(at - now, 1)
  if idle and (not next_at or at < next_at) then next_at = at end
elseif grouped > 0 and not paused and idle then
  local at = tonumber(call('ZRANGE', Group.key(':parked'), 0, 0, 'WITHSCORES')[2] or NEVER)
  if at < NEVER and (looked or at > now) and (not next_at or at < next_at) then next_at = at end
end
if cut and waiting > 0 then next_at = now end
-- What a relay has taken and not relayed by then is to be seen then.
if outbox_filled then outbox = now end
if outbox and outbox > now and (not next_at or outbox < next_at) then next_at = outbox end

-- A repeated request's leases began with the first; those that have ended since are left out.
local left = lease
if repeated and #taken > 0 then
  for i, ends in ipairs(call('ZMSCORE', ACTIVE, unpack(taken))) do
    if ends then left = math.min(left, math.max(tonumber(ends) - now, 0)) end
  end
end

local out = {now, limit, active, waiting, paused and '1' or '0',
  next_at and math.max(next_at - now, 0) or -1, reaped, promoted, math.max(hold - now, 0), left,
  dry, most, watched and Outage.state() or '', down_event, outbox and outbox <= now and '1' or '0', step and '1' or '0', #stale}
for _, id in ipairs(stale) do out[#out + 1] = id end
if #taken > 0 then
  local recs = call('HMGET', JOBS, unpack(taken))
  local tokens = (repeated or batched) and call('HMGET', LEASES, unpack(taken))
  local n, given = #out, 0
  for i, id in ipairs(taken) do
    local rec = recs[i]
    local token = tokens and string.match(tokens[i] or '', '^%S*') or ''
    -- Of a repeated request's jobs some may be another's by now.
    if rec and (not tokens or string.sub(token, 1, #request + 1) == request .. '-') then
      given = given + 1
      if not tokens and given ~= i then token = request .. '-' .. int(i) end
      out[n + 1], out[n + 2], out[n + 3] = id, token, rec
      out[n + 4] = string.byte(rec, 3) == 98 and call('HGET', BLOBS, id) or '' -- b
      n = n + 4
    end
  end
end
return out
