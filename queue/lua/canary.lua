-- canary: which jobs a redrive waits for before it goes on. Put before the
-- scripts that jobs end in.
--
-- canaries  hash  id of such a job -> id of its redrive; see redrives.lua. control's canaries counts them
local CANARIES, REDRIVE = BASE .. 'canaries', BASE .. 'redrive:'

-- canaries_succeeded tells the redrives of jobs that have just succeeded, which may be deleted at once.
local function canaries_succeeded(ids, now)
  if #ids == 0 then return end
  for i, op in ipairs(call('HMGET', CANARIES, unpack(ids))) do
    if op and call('HDEL', CANARIES, ids[i]) == 1 then
      call('HINCRBY', REDRIVE .. op, 'succeeded', 1)
      call('HSET', CONTROL, 'redrive', int(now), 'canaries', int(call('HLEN', CANARIES)))
    end
  end
end
