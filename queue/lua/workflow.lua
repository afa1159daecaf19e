-- workflow keeps what became of the jobs of a workflow, which may be of many types: under a hash
-- tag of its own, so without the prelude. The relay calls it for each ending, before it takes that away.
--
-- KEYS  1 record  hash: fingerprint, nonce, spec, total, created, finished, completed (ms); s, d, c: how many
--                 ended so; "job:<index>" -> "ms-count S\ndetail" of the last end of a job (ms and count
--                 tell ends apart, S is the state's letter); used: bytes of details
--       2 jobs    string: the jobs to be pushed, until they are
-- ARGV  1 what to do, then for
--       create:    2 fingerprint, 3 nonce, 4 total, 5 spec, 6 jobs, 7 how long to keep the record (ms)
--       ended:     2 index, 3 state, 4 ms, 5 count, 6 detail, 7 most bytes of details, 8 how long to keep the record from now on
--       started:   nothing
--       completed: 2 how long to keep the record from now on
-- Returns for create "new", "known" or "other"; else "finished" if all jobs have ended, and what
-- follows has not been pushed, "running", "completed", or "" if there is no such workflow
local call = redis.call
local RECORD, JOBS = KEYS[1], KEYS[2]

local function now()
  local t = call('TIME')
  return string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000))
end

if ARGV[1] == 'create' then
  local known = call('HMGET', RECORD, 'fingerprint', 'nonce')
  if known[1] then
    if known[1] ~= ARGV[2] then return 'other' end
    return known[2] == ARGV[3] and 'new' or 'known'
  end
  call('HSET', RECORD, 'fingerprint', ARGV[2], 'nonce', ARGV[3], 'total', ARGV[4], 'spec', ARGV[5], 'created', now())
  call('PEXPIRE', RECORD, ARGV[7])
  call('SET', JOBS, ARGV[6], 'PX', ARGV[7])
  return 'new'
end

local known = call('HMGET', RECORD, 'total', 'finished', 'completed')
local total, finished = tonumber(known[1] or ''), known[2]
if not total then return '' end

if ARGV[1] == 'ended' and not finished and tonumber(ARGV[2]) < total then
  local field, ms, count, detail = 'job:' .. ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
  local old = call('HGET', RECORD, field)
  local fresh, freed = true, 0
  if old then
    local was_ms, was_count, state, was = string.match(old, '^(%d+)-(%d+) (%a)\n(.*)$')
    was_ms, was_count, freed = tonumber(was_ms), tonumber(was_count), #was
    -- A job retried by hand ends again: its last end counts. A repeated request brings one that is known.
    fresh = ms > was_ms or ms == was_ms and count > was_count
    if fresh then call('HINCRBY', RECORD, state, -1) end
  end
  if fresh then
    local used = tonumber(call('HGET', RECORD, 'used') or '0') - freed
    if used + #detail > tonumber(ARGV[7]) then detail = '' end
    call('HSET', RECORD, field, ARGV[4] .. '-' .. ARGV[5] .. ' ' .. ARGV[3] .. '\n' .. detail, 'used', string.format('%d', used + #detail))
    call('HINCRBY', RECORD, ARGV[3], 1)
    local sum = 0
    local counts = call('HMGET', RECORD, 's', 'd', 'c')
    for i = 1, 3 do sum = sum + tonumber(counts[i] or '0') end
    if sum >= total then
      finished = now()
      call('HSET', RECORD, 'finished', finished)
    end
  end
elseif ARGV[1] == 'started' then
  call('DEL', JOBS)
elseif ARGV[1] == 'completed' and finished then
  if not known[3] then
    known[3] = now()
    call('HSET', RECORD, 'completed', known[3])
    call('PEXPIRE', RECORD, ARGV[2])
  end
end

if ARGV[1] == 'ended' and not known[3] and call('PTTL', RECORD) < tonumber(ARGV[8]) then
  call('PEXPIRE', RECORD, ARGV[8]) -- also while what follows cannot be pushed, because its type has gone, say
end
if known[3] then return 'completed' end
return finished and 'finished' or 'running'
