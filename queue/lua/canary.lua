-- canary: which jobs a redrive waits for before it goes on. Put before the
-- scripts that jobs end in.
--
-- canaries  hash  id of such a job -> id of its redrive; see redrives.lua. control's canaries counts them
local Canary = lazy(function(Canary)
  Canary.CANARIES, Canary.REDRIVE = BASE .. 'canaries', BASE .. 'redrive:'

  -- Canary.succeeded tells the redrives of jobs that have just succeeded, which may be deleted at once.
  function Canary.succeeded(ids, now)
    for i, op in ipairs(call('HMGET', Canary.CANARIES, unpack(ids))) do
      if op and call('HDEL', Canary.CANARIES, ids[i]) == 1 then
        call('HINCRBY', Canary.REDRIVE .. op, 'succeeded', 1)
        call('HSET', CONTROL, 'redrive', int(now), 'canaries', int(call('HLEN', Canary.CANARIES)))
      end
    end
  end
end)
