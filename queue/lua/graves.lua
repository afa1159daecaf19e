-- graves: the dead jobs, grouped by how they failed. Put before the scripts
-- that jobs die in, or leave the dead by, or that look at groups.
--
-- buried  hash  id of a dead job -> fingerprint of its failure
-- graves  hash  fingerprint -> "count first last status example\nfailure\nerror": how many there are, when
--               the first and the last of them died (ms; since the group began), the last status (0 none), the last
--               one's id (- if it is dead no more), what they have in common, and the last one's error
local Graves = lazy(function(Graves)
  local BURIED, GRAVES = BASE .. 'buried', BASE .. 'graves'
  Graves.BURIED, Graves.GRAVES = BURIED, GRAVES

  -- Graves.left takes a (non-empty) list of jobs out of their groups: they are dead no more.
  function Graves.left(ids)
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

  -- Graves.last_error is the error of a job's last attempt, "" if there is none.
  function Graves.last_error(id)
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

  -- Graves.wanted says whether a job, dead unless the filter is of a tag alone, is one that a filter (see DeadFilter in dead.go) lets through.
  function Graves.wanted(filter, id, died)
    if filter.after and tonumber(died) < filter.after or filter.before and tonumber(died) >= filter.before then return false end
    if filter.fingerprint and call('HGET', BURIED, id) ~= filter.fingerprint then return false end
    if filter.tag and not tagged(id, filter.tag) then return false end
    if filter.error and not string.find(string.lower(Graves.last_error(id)), filter.error, 1, true) then return false end
    return true
  end

  -- MOST_GROUPS bounds the groups: errors that are all different share one, "other".
  local MOST_GROUPS = 1000

  -- common is what an error has in common with others of its kind: without the
  -- numbers, addresses, IDs and quoted words that differ from job to job.
  local function common(error)
    local hex = string.rep('%x', 4)
    local s = ' ' .. error
    s = string.gsub(s, '"[^"]*"', '"…"')
    s = string.gsub(s, '`[^`]*`', '`…`')
    s = string.gsub(s, "([^0-9A-Za-z])'[^']*'", "%1'…'") -- not an apostrophe
    s = string.gsub(s, hex .. hex .. '%-' .. hex .. '%-' .. hex .. '%-' .. hex .. '%-' .. hex .. hex .. hex, '#') -- UUID
    s = string.gsub(s, '%[[%x:%.]*:[%x:%.]*%]', '#') -- IPv6
    s = string.gsub(s, '[0-9A-Za-z]+', function(word)
      if string.find(word, '%d') or (#word >= 8 and not string.find(word, '%X')) then return '#' end
    end)
    -- What is left of an address, a time or a number with a point is one thing.
    local n
    repeat s, n = string.gsub(s, '#[%.:,%-/_+]#', '#') until n == 0
    s = string.gsub(s, '%s+', ' ')
    return string.match(s, '^ ?(.-) ?$')
  end

  -- Graves.bury puts a job that has just died into its group.
  function Graves.bury(id, status, error, now)
    local failure = common(error)
    local print = string.sub(redis.sha1hex(status .. ' ' .. failure), 1, 16)
    local group = call('HGET', GRAVES, print)
    if not group and call('HLEN', GRAVES) >= MOST_GROUPS then
      print, status, failure = 'other', 0, 'other failures'
      group = call('HGET', GRAVES, print)
    end
    local count, first = string.match(group or '', '^(%d+) (%d+)')
    call('HSET', GRAVES, print, int(tonumber(count or 0) + 1) .. ' ' .. (first or int(now)) .. ' ' .. int(now) .. ' ' .. status .. ' ' .. id ..
      '\n' .. string.gsub(failure, '\n', ' ') .. '\n' .. error)
    call('HSET', BURIED, id, print)
    if call('HEXISTS', BASE .. 'canaries', id) == 1 then call('HSET', CONTROL, 'redrive', int(now)) end
  end
end)
