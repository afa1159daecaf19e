-- remove deletes one finished, cancelled or dead job.
--
-- KEYS  see the prelude; 17 holds the answer for a repeated request
-- ARGV  1 id
-- Returns the job's place before, see cancel; only s, c and d were removed
local known = call('GET', REQUEST)
if known then return known end

local id = ARGV[1]
local rec = call('HGET', JOBS, id)
local at = place(id, rec)
if not at then return '' end
if at == 'd' then
  call('ZREM', DEAD, id)
  Graves.left({id})
elseif at == 's' or at == 'c' then
  call('HINCRBY', CONTROL, 'fstale', 1)
else
  return at
end
forget({id})
return answered(at)
