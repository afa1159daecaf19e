-- burial: how a job gets into the group of those that died as it did. Put
-- after graves and canary, before the scripts that jobs die in.

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

-- buried puts a job that has just died into its group.
local function buried(id, status, error, now)
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
  if call('HEXISTS', CANARIES, id) == 1 then call('HSET', CONTROL, 'redrive', int(now)) end
end
