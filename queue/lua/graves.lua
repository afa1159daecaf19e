-- graves: the dead jobs, grouped by how they failed. Put before the scripts
-- that jobs leave the dead by, or that look at groups.
--
-- buried  hash  id of a dead job -> fingerprint of its failure
-- graves  hash  fingerprint -> "count first last status example\nfailure\nerror": how many there are, when
--               the first and the last of them died (ms; since the group began), the last status (0 none), the last
--               one's id (- if it is dead no more), what they have in common, and the last one's error
local BURIED, GRAVES = BASE .. 'buried', BASE .. 'graves'

-- unburied takes a (non-empty) list of jobs out of their groups: they are dead no more.
local function unburied(ids)
  for i = 1, #ids, 1000 do
    local last = math.min(i + 999, #ids)
    local prints = call('HMGET', BURIED, unpack(ids, i, last))
    call('HDEL', BURIED, unpack(ids, i, last))
    local left, gone = {}, {}
    for k, print in ipairs(prints) do
      if print then
        left[print] = (left[print] or 0) + 1
        gone[ids[i + k - 1]] = true
      end
    end
    for print, n in pairs(left) do
      local group = call('HGET', GRAVES, print)
      local count, first, latest, status, example, rest = string.match(group or '', '^(%d+) (%d+) (%d+) (%d+) (%S+)(.*)$')
      count = tonumber(count or 0) - n
      if count <= 0 then
        call('HDEL', GRAVES, print)
      else
        if gone[example] then example = '-' end
        call('HSET', GRAVES, print, int(count) .. ' ' .. first .. ' ' .. latest .. ' ' .. status .. ' ' .. example .. rest)
      end
    end
  end
end

-- last_error is the error of a job's last attempt, "" if there is none.
local function last_error(id)
  local history = call('HGET', ATTEMPTS, id)
  if not history then return '' end
  local good, line = pcall(cjson.decode, string.match(history, '^.*\n(.*)$') or history)
  return good and type(line.error) == 'string' and line.error or ''
end

-- tagged says whether a job has a tag.
local function tagged(id, tag)
  local rec = call('HGET', JOBS, id)
  local options = rec and string.match(rec, '^[^\n]*\n([^\n]+)\n')
  if not options or not string.find(options, '"e":{', 1, true) then return false end
  for _, t in ipairs(cjson.decode(options).e.t or {}) do
    if t == tag then return true end
  end
  return false
end

-- wanted says whether a job, dead unless the filter is of a tag alone, is one that a filter (see DeadFilter in dead.go) lets through.
local function wanted(filter, id, died)
  if filter.after and tonumber(died) < filter.after or filter.before and tonumber(died) >= filter.before then return false end
  if filter.fingerprint and call('HGET', BURIED, id) ~= filter.fingerprint then return false end
  if filter.tag and not tagged(id, filter.tag) then return false end
  if filter.error and not string.find(string.lower(last_error(id)), filter.error, 1, true) then return false end
  return true
end
