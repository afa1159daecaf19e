-- pushnew is push for jobs that are all new and have no options, as most are: it
-- looks nothing up but the first.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  as push has them
-- Returns what push does; or "" and nothing done if the first is there already: a repeat that comes
--       when the answer is no longer remembered, which is push's to sort out
local known = call('GET', REQUEST)
if known then return known end
if call('HEXISTS', JOBS, ARGV[6]) == 1 then return '' end

local now = clock()
local enqueued = int(now)
local out, n = {enqueued}, 1
local fields, blobs, lists = {}, {}, {}
local earliest
local before, after = '- 0 0 ' .. enqueued .. ' ', '\n'
for i = 6, #ARGV, 6 do
  local id, p, when, blob = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 5]
  local wait = '0'
  if when ~= '' then
    local ms = tonumber(string.sub(when, 2))
    if string.byte(when) == 64 then ms = ms - now end -- @
    if ms > 0 then
      wait = int(ms)
      call('ZADD', SCHEDULED, int(now + ms), id)
      if not earliest or now + ms < earliest then earliest = now + ms end
    end
  end
  if wait == '0' then
    local at = tonumber(p)
    local list = lists[at]
    if not list then
      list = {}
      lists[at] = list
    end
    list[#list + 1] = id
  end
  fields[2 * n - 1] = id
  if blob == '' then
    fields[2 * n] = 'q' .. p .. before .. wait .. after .. ARGV[i + 4]
  else
    fields[2 * n] = record('q', p, 'b', 0, 0, enqueued, wait, after, ARGV[i + 4])
    blobs[#blobs + 1] = id
    blobs[#blobs + 1] = blob
  end
  n = n + 1
  out[n] = 'n' .. wait
end
call('HSET', JOBS, unpack(fields))
if #blobs > 0 then call('HSET', BLOBS, unpack(blobs)) end
return pushed(lists, false, false, earliest, out, now)
