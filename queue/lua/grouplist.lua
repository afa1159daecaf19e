-- grouplist reads a page of the groups that have jobs, by name.
--
-- KEYS  see the prelude
-- ARGV  1 the group after which the page begins ("" the first page), 2 at most so many
-- Returns {now, cursor of the next page ("" if there is none), then five a group: name, waiting, running,
--       how long its rate lets no job start (ms), 1 if it runs as many as it may}
local now, us = clock()
local limits = Group.limits(call('HGET', CONTROL, 'groups'))
local most = tonumber(ARGV[2])
local names = call('ZRANGEBYLEX', Group.key(''), ARGV[1] == '' and '-' or '(' .. ARGV[1], '+', 'LIMIT', 0, most + 1)
local out = {int(now), #names > most and names[most] or ''}
for i = 1, math.min(#names, most) do
  local g = names[i]
  local waiting = -tonumber(call('HGET', Group.key(':stale'), g) or 0)
  for p = 1, 5 do waiting = waiting + call('LLEN', Group.list(p, g)) end
  local active = tonumber(call('HGET', Group.key(':active'), g) or 0)
  local dry = 0
  if limits.rate then
    local tat = Rate.tat(call('ZSCORE', Group.key(':tat'), g), us)
    if Rate.room(limits.rate, tat, us) < 1 then dry = math.max(Rate.next(limits.rate, tat) - now, 1) end
  end
  if waiting + active > 0 then -- else there are but left-over entries
    out[#out + 1] = g
    out[#out + 1] = waiting
    out[#out + 1] = active
    out[#out + 1] = int(dry)
    out[#out + 1] = limits.most > 0 and active >= limits.most and 1 or 0
  end
end
return out
